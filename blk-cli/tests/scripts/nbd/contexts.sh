# -A: what a block status tells of a chain; and of the disk alone.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-io -c 'write -q 0 128k' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 1M
qemu-io -c 'write -q 64k 64k' -c 'write -q -z 512k 64k' top.qcow2
start -r -A -f qcow2 top.qcow2
nbdinfo --map "$uri"
nbdinfo --map=qemu:allocation-depth "$uri"
qemu-img map --output=json "$uri"
stop
