# An image that was not closed.
info() { qemu-img info "$@" | grep -v 'disk size'; }
qemu-img create -q -f qcow2 -o lazy_refcounts=on a.qcow2 1M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
printf '\001' | dd of=a.qcow2 bs=1 seek=79 conv=notrunc 2>/dev/null
info a.qcow2
qemu-img info --output=json a.qcow2 | grep dirty
