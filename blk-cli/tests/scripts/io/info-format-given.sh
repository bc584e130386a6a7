qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -f raw -c info -c 'read -v 0 4' t.qcow2
qemu-io -f qcow2 -c info t.qcow2 | head -n 1
