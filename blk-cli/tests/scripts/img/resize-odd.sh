# Whole sectors.
qemu-img create -q a.raw 1M
qemu-img resize -f raw --shrink a.raw 1000001
wc -c < a.raw
qemu-img info a.raw | grep virtual
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img resize a.qcow2 2000001
echo "exit $?"
