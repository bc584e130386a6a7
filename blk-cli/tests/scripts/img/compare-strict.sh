# Allocation counts.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 128k' a.qcow2 >/dev/null
qemu-img convert -O raw a.qcow2 a.raw
qemu-img compare -s a.qcow2 a.raw
echo "exit $?"
cp a.qcow2 b.qcow2
qemu-img compare -s a.qcow2 b.qcow2
echo "exit $?"
