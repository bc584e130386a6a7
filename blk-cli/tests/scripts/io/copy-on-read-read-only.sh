. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -C -r -c length t.qcow2
io -c 'open -C -r t.qcow2' -c 'open -C t.qcow2' -c 'read 0 1'
