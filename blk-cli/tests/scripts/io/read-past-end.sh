. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read 1M 512' -c 'read 2M 512' -c 'read 0 2M' -c 'read 1023k 1025' -c 'read 1M 0' -c 'read 2M 0' -c 'read 7E 1' t.qcow2
io -c 'readv 2M 5' -c 'readv 1023k 1k 1' t.qcow2
