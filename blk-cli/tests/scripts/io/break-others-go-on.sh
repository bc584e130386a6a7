qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -n -c 'write -P 1 0 128k' -c 'break write_aio a' -c 'aio_write -P 2 0 512' -c 'wait_break a' -c 'aio_write -P 3 64k 512' -c 'sleep 100' -c 'length' -c 'resume a' -c aio_flush -c 'read -P 2 0 512' -c 'read -P 3 64k 512' blkdebug::t.qcow2
