# More than the format can have.
qemu-img create -f qcow2 a.qcow2 7E
echo "exit $?"
qemu-img create -f qcow2 -o cluster_size=512 a.qcow2 1T
echo "exit $?"
ls
