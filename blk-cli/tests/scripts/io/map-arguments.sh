. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'map 1' -c 'map 1 2' -c 'length 1' -c 'info 1' -c 'close 1' -c 'alloc' -c 'alloc 1 2 3' -c 'aio_flush 1' t.qcow2
