# An image that is marked corrupt.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
put a.qcow2 79 '\002'
info a.qcow2
