qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'aio_write -P 1 0 64k' -c 'aio_write -P 2 64k 64k' -c 'aio_write -P 3 128k 64k' -c 'aio_write -P 4 192k 64k' -c aio_flush t.qcow2 | grep wrote | sort
qemu-io -c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' -c 'read -P 3 128k 64k' -c 'read -P 4 192k 64k' t.qcow2
