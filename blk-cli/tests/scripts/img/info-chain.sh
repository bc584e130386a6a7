# All disks of a chain.
. "${0%/*}/../prelude"
qemu-img create -q -f raw base.raw 8M
qemu-img create -q -f qcow2 -b base.raw -F raw mid.qcow2
qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write 0 64k' mid.qcow2 >/dev/null
qemu-io -c 'write 0 64k' top.qcow2 >/dev/null
info --backing-chain top.qcow2
info -b base.raw
