qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -c -P 1 0 64k' -c 'write -P 2 100 10' -c 'read -P 1 0 100' -c 'read -P 2 100 10' -c 'read -P 1 110 1k' -c map t.qcow2
qemu-img check t.qcow2
