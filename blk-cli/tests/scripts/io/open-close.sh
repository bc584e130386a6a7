. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'open t.qcow2' -c length -c 'open t.qcow2' -c close -c length -c close -c 'o t.qcow2' -c 'write -P 1 0 512' -c c -c 'open -r t.qcow2' -c 'read -P 1 0 512' -c 'write 0 512'
