. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'aio_read' -c 'aio_read 0' -c 'aio_write 0' -c 'aio_write -z 0 512 512' -c 'aio_write -u 0 512' -c 'aio_write -zr 0 512' -c 'aio_write -zur -P3 0 5 5' -c 'aio_write -z 0' -c 'aio_write -b 0 5' -c 'aio_read -b 0 5' -c 'aio_write -P x 0 5' -c 'aio_read -P x 0 5' -c 'aio_read 0 3G' -c 'aio_read 0 x' -c 'aio_write 0 -1' t.qcow2
