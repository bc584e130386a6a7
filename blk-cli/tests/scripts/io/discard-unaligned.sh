qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 128k' -c 'discard 1 1' -c 'discard 1 64k' -c 'read -P 1 0 64k' -c map t.qcow2
