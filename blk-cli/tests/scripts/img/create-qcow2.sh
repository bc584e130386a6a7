# A qcow2 image with all defaults.
qemu-img create -f qcow2 a.qcow2 64M
echo "exit $?"
qemu-img check a.qcow2
