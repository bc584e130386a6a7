# Bitmaps of the base record what is committed; those of the overlay stay with it.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 4M
qemu-img bitmap --add -g 64k base below
qemu-img bitmap --add --disable base still
qemu-img create -q -f qcow2 -b base -F qcow2 over
qemu-img bitmap --add -g 64k over above
qemu-io -c 'write -q -P 1 0 128k' -c 'write -q -z 1M 64k' over
img commit over
bitmaps base
bitmaps over
dirty base below
dirty base still
dirty over above
