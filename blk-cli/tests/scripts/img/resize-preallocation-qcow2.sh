# What a qcow2 disk gains is written.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img resize --preallocation=full a.qcow2 2M
echo "exit $?"
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
