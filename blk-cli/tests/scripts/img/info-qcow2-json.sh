# A qcow2 image, for programs.
info() { qemu-img info --output=json "$@" | grep -v actual-size; }
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
info a.qcow2
