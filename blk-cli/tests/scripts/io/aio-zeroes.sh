qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'aio_write -P 1 0 128k' -c aio_flush -c 'aio_write -z 0 64k' -c aio_flush -c 'aio_write -zu 64k 64k' -c aio_flush -c 'aio_write -zf 0 512' -c aio_flush -c 'aio_read -P 0 0 128k' -c aio_flush -c 'aio_write -zq 0 512' t.qcow2
echo "exit $?"
