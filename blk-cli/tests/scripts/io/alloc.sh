qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write 0 64k' -c 'alloc 0' -c 'alloc 3' -c 'alloc 0 1' -c 'alloc 0 512k' -c 'alloc 64k 64k' -c 'alloc 2M' -c 'alloc 0 2M' -c 'alloc 0 0' -c 'alloc 1M 512' -c 'alloc 32k 64k' -c 'alloc 1023k 7E' t.qcow2
