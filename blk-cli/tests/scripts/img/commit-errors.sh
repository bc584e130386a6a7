# What cannot be.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img commit a.qcow2
echo "exit $?"
qemu-img commit none.qcow2
echo "exit $?"
qemu-img commit
echo "exit $?"
qemu-img commit -t some a.qcow2
echo "exit $?"
