for size in 0 1 511M 512M 513M 1T; do
    qemu-img create -q -f qcow2 t.qcow2 $size
    qemu-io -c info t.qcow2 | grep vm
done
