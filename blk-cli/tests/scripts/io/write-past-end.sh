. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'write 1M 512' -c 'write 1023k 2k' -c 'write -z 1M 512' -c 'writev 2M 5' -c 'write 3M 0' -c 'write -z 3M 0' t.qcow2
