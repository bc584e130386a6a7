# Not faster than that.
qemu-img create -q a.raw 1M
qemu-img convert -r 100M -f raw -O qcow2 a.raw b.qcow2
echo "exit $?"
qemu-img compare -f raw a.raw b.qcow2
qemu-img convert -r x -f raw -O qcow2 a.raw b.qcow2
echo "exit $?"
