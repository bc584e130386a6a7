# An image that is marked corrupt, though nothing is wrong.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
put a.qcow2 79 '\002'
qemu-img check a.qcow2
echo "exit $?"
qemu-img info a.qcow2 | grep corrupt
qemu-img check -r all a.qcow2
echo "exit $?"
qemu-img info a.qcow2 | grep corrupt
