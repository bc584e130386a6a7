# An image without a disk below, to one that has one.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img create -q -f qcow2 base.qcow2 64M
qemu-io -c 'write -P 8 2M 1M' base.qcow2 >/dev/null
qemu-img convert -O qcow2 -B base.qcow2 -F qcow2 a.qcow2 b.qcow2
qemu-img compare a.qcow2 b.qcow2
qemu-img map --output=json b.qcow2
qemu-img convert -O qcow2 -B base.qcow2 a.qcow2 c.qcow2
echo "exit $?"
