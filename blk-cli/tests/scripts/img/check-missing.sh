# No image.
qemu-img check none.qcow2
echo "exit $?"
qemu-img check
echo "exit $?"
