# To an image over another one.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 0 0 64k' -c 'write -P 7 20M 64k' top.qcow2 >/dev/null
qemu-img convert -O qcow2 -B a.qcow2 -F qcow2 top.qcow2 b.qcow2
echo "exit $?"
qemu-img compare top.qcow2 b.qcow2
qemu-img map --output=json b.qcow2
qemu-img convert -O qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 top.qcow2 c.qcow2
qemu-img info c.qcow2 | grep backing
