# What cannot be.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q a.raw 1M
qemu-img amend a.qcow2
echo "exit $?"
qemu-img amend -o cluster_size=4k a.qcow2 2>/dev/null
echo "exit $?"
qemu-img amend -o colour=red a.qcow2
echo "exit $?"
qemu-img amend -f raw -o size=2M a.raw
echo "exit $?"
