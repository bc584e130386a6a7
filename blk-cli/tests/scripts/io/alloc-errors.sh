. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'alloc x' -c 'alloc 0 x' -c 'alloc -1' -c 'alloc 0 8E' -c 'alloc 0 -1' t.qcow2
