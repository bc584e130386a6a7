. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 128k' t.qcow2
io -c 'break read_aio a' -c 'remove_break a' -c 'read 0 512' -c 'break read_aio a' -c 'break read_aio a' -c 'remove_break a' -c 'read 0 512' blkdebug::t.qcow2
