. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read x 512' -c 'read 0 x' -c 'read 1kb 1' -c 'read 0 1.5' t.qcow2
io -c 'readv x 1' -c 'readv 0 1 x' -c 'write x 1' -c 'write 0 x' -c 'writev 0 x' -c 'discard x 1' -c 'discard 0 x' -c 'aio_read x 1' -c 'aio_write x 1' t.qcow2
