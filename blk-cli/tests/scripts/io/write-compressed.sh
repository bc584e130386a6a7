qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -c -P 1 0 64k' -c 'read -P 1 0 64k' -c 'write -c -P 2 128k 64k' -c 'read -P 2 128k 64k' -c 'read -P 0 64k 64k' -c map t.qcow2
qemu-img check t.qcow2
