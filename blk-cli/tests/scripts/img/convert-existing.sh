# To an image that exists.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img create -q b.raw 64M
qemu-io -f raw -c 'write -P 9 0 64k' -c 'write -P 9 10M 64k' b.raw >/dev/null
qemu-img convert -n -O raw a.qcow2 b.raw
echo "exit $?"
qemu-img compare a.qcow2 b.raw
qemu-img convert -n -O raw a.qcow2 none.raw
echo "exit $?"
qemu-img convert -n -o size=1M -O raw a.qcow2 b.raw
echo "exit $?"
