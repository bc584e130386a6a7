# All disks of a chain, for programs; a list even of one.
. "${0%/*}/../prelude"
qemu-img create -q -f raw base.raw 8M
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
qemu-io -c 'write 0 64k' top.qcow2 >/dev/null
info_json --backing-chain top.qcow2
info_json --backing-chain base.raw
