. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'write -c 0 512' -c 'write -c 3 64k' -c 'write -c 0 5' -c 'write -c 1M 64k' -c 'write -c 0 0' t.qcow2
