# A qcow2 image, for programs.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
info_json a.qcow2
