qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' t.raw
qemu-img create -q -f qcow2 -b t.raw -F raw t.qcow2
qemu-io -c map -c 'read -P 1 0 1M' -c map -c 'write -P 2 64k 512' -c map -c 'read -P 1 0 64k' -c 'read -P 2 64k 512' -c 'read -P 1 66048 8k' -c 'alloc 0 1M' t.qcow2
