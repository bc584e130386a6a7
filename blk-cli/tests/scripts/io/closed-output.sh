qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 1M' t.qcow2
qemu-io -c 'read -v 0 1M' t.qcow2 | head -n 3
qemu-io -c 'read -P 1 0 1M' t.qcow2
