qemu-img create -q -f qcow2 t.qcow2 3T
qemu-io -c 'write 1T 64k' -c map -c 'alloc 0 3T' t.qcow2
