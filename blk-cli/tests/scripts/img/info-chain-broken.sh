# A chain of which a part is missing.
qemu-img create -q -f qcow2 -u -b none.qcow2 -F qcow2 top.qcow2 1M
qemu-img info top.qcow2 | grep backing
qemu-img info --backing-chain top.qcow2
echo "exit $?"
rm top.qcow2
