# To an image of another size.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img create -q small.raw 1M
qemu-img convert -n -O raw a.qcow2 small.raw
echo "exit $?"
qemu-img create -q big.raw 80M
qemu-io -f raw -c 'write -P 7 70M 64k' big.raw >/dev/null
qemu-img convert -n -O raw a.qcow2 big.raw
echo "exit $?"
qemu-img compare a.qcow2 big.raw
