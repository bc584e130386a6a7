. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'open -n t.qcow2' -c length -c close -c 'open -t none t.qcow2' -c length -c close -c 'open -t directsync t.qcow2' -c length -c close -c 'open -t unsafe t.qcow2' -c 'write 0 512' -c flush -c close -c 'open -t foo t.qcow2' -c 'open -d unmap t.qcow2' -c close -c 'open -d foo t.qcow2' -c 'open -i threads t.qcow2' -c close -c 'open -i foo t.qcow2' -c 'open -k t.qcow2' -c length
