# A format that does not exist, and one that the file is not.
qemu-img create -q -f raw a.raw 64k
qemu-io -f nonsense -c 'length' a.raw
echo "exit $?"
qemu-io -f qcow2 -c 'length' a.raw
echo "exit $?"
