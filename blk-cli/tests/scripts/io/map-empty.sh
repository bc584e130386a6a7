qemu-img create -q -f raw t.raw 0
qemu-img create -q -f qcow2 t.qcow2 0
qemu-io -f raw -c map -c length -c 'read 0 0' -c 'alloc 0' -c info t.raw
qemu-io -c map -c length -c 'read 0 0' -c 'alloc 0' -c info t.qcow2
echo "exit $?"
