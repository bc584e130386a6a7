# An image that is marked corrupt.
info() { qemu-img info "$@" | grep -v 'disk size'; }
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
printf '\002' | dd of=a.qcow2 bs=1 seek=79 conv=notrunc 2>/dev/null
info a.qcow2
