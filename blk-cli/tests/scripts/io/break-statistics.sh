qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -n -c 'write 0 64k' -c 'break write_aio a' -c 'aio_write -C 0 512' -c 'wait_break a' -c 'sleep 1100' -c 'resume a' -c aio_flush blkdebug::t.qcow2
