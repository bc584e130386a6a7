# Version 2 has fewer properties.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o compat=0.10 a.qcow2 64M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
info_json a.qcow2
qemu-img info a.qcow2 | grep -v 'disk size'
