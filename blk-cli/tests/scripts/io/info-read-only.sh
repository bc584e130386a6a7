qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -r -c info -c length t.qcow2
qemu-io -s -c info t.qcow2
