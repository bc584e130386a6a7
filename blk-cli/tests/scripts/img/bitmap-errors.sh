# What cannot be.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap a.qcow2 b
echo "exit $?"
qemu-img bitmap --add a.qcow2
echo "exit $?"
qemu-img bitmap --remove a.qcow2 b
echo "exit $?"
qemu-img bitmap --clear -g 64k a.qcow2 b
echo "exit $?"
