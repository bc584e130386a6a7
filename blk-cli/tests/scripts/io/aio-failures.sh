. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'aio_read 2M 5' -c aio_flush -c length t.qcow2
io -c 'aio_write 2M 5' -c aio_flush -c length t.qcow2
io -c 'aio_read -P 1 0 512' -c aio_flush -c length t.qcow2
io -c 'aio_write -z 2M 512' -c aio_flush t.qcow2
