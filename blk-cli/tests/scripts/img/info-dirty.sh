# An image that was not closed.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o lazy_refcounts=on a.qcow2 1M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
put a.qcow2 79 '\001'
info a.qcow2
qemu-img info --output=json a.qcow2 | grep dirty
