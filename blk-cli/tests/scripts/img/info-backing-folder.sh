# The actual path of the disk below, where it differs from the name.
. "${0%/*}/../prelude"
mkdir sub
qemu-img create -q -f raw sub/base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw sub/top.qcow2
qemu-io -c 'write 0 64k' sub/top.qcow2 >/dev/null
info_json sub/top.qcow2
qemu-img info sub/top.qcow2 | grep -v 'disk size'
