. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'aio_read -i 0 512' t.qcow2
io -c 'aio_write -i 0 512' -c length t.qcow2
io -c 'aio_read -iZ x' -c length t.qcow2
