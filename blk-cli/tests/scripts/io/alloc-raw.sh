qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'alloc 0' -c 'alloc 0 1M' -c 'alloc 64k 64k' -c 'alloc 1023k 2k' t.raw
