# No size, no name.
qemu-img create a.raw
echo "exit $?"
qemu-img create -f qcow2 a.qcow2
echo "exit $?"
qemu-img create
echo "exit $?"
ls
