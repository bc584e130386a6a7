# Sizes that are none.
qemu-img create -q -f qcow2 a.qcow2 1M
for size in 0 1X -1G --colour; do
    qemu-img resize --shrink a.qcow2 $size 2>/dev/null
    echo "exit $?"
done
qemu-img resize a.qcow2
echo "exit $?"
qemu-img resize
echo "exit $?"
qemu-img resize none.qcow2 1M
echo "exit $?"
qemu-img resize a.qcow2 1M 2M
echo "exit $?"
