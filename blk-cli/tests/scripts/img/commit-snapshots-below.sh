# A base with snapshots inside: they keep what they had.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 1M
fill qcow2 base
qemu-img snapshot -c one base
qemu-img create -q -f qcow2 -b base -F qcow2 over
qemu-io -c 'write -q -P 9 0 64k' -c 'write -q -z 256k 64k' over
img commit over
qemu-img convert -l one -O raw base one
qemu-img convert -O raw base now
qemu-img check base
qemu-img snapshot -a one base
img compare -f qcow2 -F raw base one
