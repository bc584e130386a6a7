qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c map -c 'write 0 64k' -c 'write 128k 1' -c map -c 'write 64k 64k' -c map -c 'write 960k 64k' -c map t.qcow2
