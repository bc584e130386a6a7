# Version 2, by both of its names.
qemu-img create -f qcow2 -o compat=0.10 a.qcow2 1M
echo "exit $?"
qemu-img create -f qcow2 -o compat=v2 b.qcow2 1M
qemu-img check b.qcow2
