# What cannot be.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img convert
echo "exit $?"
qemu-img convert a.qcow2
echo "exit $?"
qemu-img convert none.raw b.raw
echo "exit $?"
qemu-img convert -O foo a.qcow2 b.raw
echo "exit $?"
qemu-img convert -O qcow2 -o colour=red a.qcow2 b.qcow2
echo "exit $?"
qemu-img convert -c -C -O qcow2 a.qcow2 b.qcow2
echo "exit $?"
qemu-img convert -C -S 4k -O raw a.qcow2 b.raw
echo "exit $?"
qemu-img convert -t some -O raw a.qcow2 b.raw
echo "exit $?"
qemu-img convert --skip-broken-bitmaps -O qcow2 a.qcow2 b.qcow2
echo "exit $?"
rm -f b.raw
