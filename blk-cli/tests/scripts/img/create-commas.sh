# Commas in names are doubled in lists.
qemu-img create -f qcow2 "a,b.qcow2" 1M
qemu-img create -f qcow2 -b "a,b.qcow2" -F qcow2 top.qcow2
echo "exit $?"
qemu-img create -f qcow2 -o backing_file=a,,b.qcow2,backing_fmt=qcow2 top2.qcow2
echo "exit $?"
qemu-img create -q "with space.raw" 1M
ls
