# The given format counts, whatever the content.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
info -f raw a.qcow2
qemu-img create -q a.raw 1M
qemu-img info -f qcow2 a.raw
echo "exit $?"
qemu-img info -f foo a.raw
echo "exit $?"
