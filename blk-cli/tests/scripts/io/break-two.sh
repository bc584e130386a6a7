qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -n -c 'write -P 1 0 128k' -c 'break read_aio a' -c 'aio_read 0 512' -c 'wait_break a' -c 'break read_aio b' -c 'aio_read 64k 512' -c 'wait_break b' -c 'resume b' -c 'sleep 100' -c 'resume a' -c aio_flush blkdebug::t.qcow2
