# Images without snapshots.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img snapshot -l a.qcow2
echo "exit $?"
qemu-img snapshot a.qcow2
qemu-img snapshot -l -f raw a.qcow2
echo "exit $?"
