# A disk of no bytes.
qemu-img create -f qcow2 a.qcow2 0
echo "exit $?"
qemu-img map a.qcow2
qemu-img create -f raw a.raw 0
qemu-img map --output=json a.raw
