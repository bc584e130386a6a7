qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 0x41 500 20' -c 'read -v 496 32' -c 'read -v 499 3' -c 'read -v 0 0' t.qcow2
