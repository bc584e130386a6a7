# What a rebase copies is dirty in the bitmaps of the image.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 4M
qemu-io -c 'write -q -P 1 0 64k' -c 'write -q -P 1 2M 64k' one
qemu-img create -q -f qcow2 -b one -F qcow2 over
qemu-img bitmap --add over follows
qemu-img bitmap --add --disable over still
img rebase -b '' over
bitmaps over
dirty over follows
dirty over still
