# Exit codes of errors.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 128k' a.qcow2 >/dev/null
qemu-img convert -O raw a.qcow2 a.raw
qemu-img compare a.qcow2 none.raw
echo "exit $?"
qemu-img compare none.raw a.qcow2
echo "exit $?"
qemu-img compare a.qcow2
echo "exit $?"
qemu-img compare -f qcow2 a.raw a.raw
echo "exit $?"
qemu-img compare -f foo a.raw a.raw
echo "exit $?"
qemu-img compare --colour a b 2>/dev/null
echo "exit $?"
