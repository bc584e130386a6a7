qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'read 0 512' -c 'read -P 0 0 1M' t.qcow2
