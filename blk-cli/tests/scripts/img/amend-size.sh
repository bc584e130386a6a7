# The size of a disk.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img amend -o size=2M a.qcow2
echo "exit $?"
qemu-img info a.qcow2 | grep virtual
qemu-img amend -p -o size=3M a.qcow2 | tr '\r' '\n' | tail -1
