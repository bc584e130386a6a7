# To an image that is allocated at once.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 128k 64k' a.qcow2 >/dev/null
qemu-img convert -O qcow2 -o preallocation=full a.qcow2 b.qcow2
qemu-img compare a.qcow2 b.qcow2
qemu-img map --output=json b.qcow2
qemu-img convert -c -O qcow2 -o preallocation=full a.qcow2 c.qcow2
echo "exit $?"
