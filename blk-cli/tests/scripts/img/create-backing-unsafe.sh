# Without looking at the disk below.
qemu-img create -f qcow2 -u -b none.qcow2 -F qcow2 top.qcow2 1M
echo "exit $?"
qemu-img create -f qcow2 -u -b none.qcow2 -F qcow2 top2.qcow2
echo "exit $?"
qemu-img info -U top.qcow2 | grep backing
rm top.qcow2
