# A backing file that is not there, directly and one step below.
qemu-img create -q -u -f qcow2 -F qcow2 -b c.qcow2 a.qcow2 1M
qemu-img create -q -u -f qcow2 -F qcow2 -b none.qcow2 c.qcow2 1M
qemu-io -c 'length' c.qcow2
echo "exit $?"
qemu-io -c 'length' a.qcow2
echo "exit $?"
rm a.qcow2 c.qcow2
