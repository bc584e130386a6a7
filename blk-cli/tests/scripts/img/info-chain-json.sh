# All disks of a chain, for programs; a list even of one.
info() { qemu-img info --output=json "$@" | grep -v actual-size; }
qemu-img create -q -f raw base.raw 8M
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
qemu-io -c 'write 0 64k' top.qcow2 >/dev/null
info --backing-chain top.qcow2
info --backing-chain base.raw
