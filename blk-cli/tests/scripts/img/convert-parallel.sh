# Several requests at once, in any order.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img convert -m 4 -W -O raw a.qcow2 b.raw
echo "exit $?"
qemu-img compare a.qcow2 b.raw
qemu-img convert -m 16 -O qcow2 a.qcow2 b.qcow2
qemu-img check b.qcow2
for count in 0 17 x; do
    qemu-img convert -m $count -O raw a.qcow2 b.raw
    echo "exit $?"
done
