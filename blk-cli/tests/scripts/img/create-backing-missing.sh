# A disk below that does not exist.
qemu-img create -f qcow2 -b none.qcow2 -F qcow2 top.qcow2 2>/dev/null
echo "exit $?"
qemu-img create -f qcow2 -b none.qcow2 -F qcow2 top.qcow2 1M 2>/dev/null
echo "exit $?"
ls
