qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'aio_write -P 1 0 64k' -c aio_flush -c 'aio_read -P 1 0 64k' -c aio_flush -c 'aio_write -P 2 64k 512 512' -c aio_flush -c 'aio_read -v 65528 8 8' -c aio_flush -c 'aio_read -q -P 1 0 512' -c aio_flush -c 'aio_read -C 0 512' -c aio_flush -c 'aio_write -f 0 512' -c aio_flush -c 'aio_write -q 0 512' t.qcow2
echo "exit $?"
