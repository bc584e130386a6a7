# What cannot be.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img snapshot
echo "exit $?"
qemu-img snapshot none.qcow2
echo "exit $?"
qemu-img snapshot -c x -l a.qcow2
echo "exit $?"
qemu-img snapshot -a x -d y a.qcow2
echo "exit $?"
qemu-img snapshot -d x a.qcow2
echo "exit $?"
qemu-img snapshot -a x a.qcow2
echo "exit $?"
