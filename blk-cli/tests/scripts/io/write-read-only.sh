. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -r -c 'write 0 512' -c 'writev 0 512' -c 'aio_write 0 512' -c 'write -z 0 512' -c 'discard 0 512' -c 'truncate 2M' -c 'read 0 512' -c flush -c length t.qcow2
io -r -c 'write' -c 'write -Z 1' t.qcow2
