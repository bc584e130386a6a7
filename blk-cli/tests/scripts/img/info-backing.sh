# An image over another one.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write 0 64k' top.qcow2 >/dev/null
info top.qcow2
qemu-img info --output=json top.qcow2 | grep -v actual-size
