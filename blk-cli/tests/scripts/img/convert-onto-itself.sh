# The target is the source: nothing is lost.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img convert -O raw a.qcow2 a.qcow2 2>/dev/null
echo "exit $?"
qemu-img check a.qcow2
