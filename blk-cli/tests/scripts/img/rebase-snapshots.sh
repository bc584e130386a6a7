# An image with a snapshot inside: the snapshot goes on to read its backing file.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 1M
fill qcow2 one
qemu-img create -q -f qcow2 two 1M
qemu-img create -q -f qcow2 -b one -F qcow2 over
qemu-io -c 'write -q -P 2 0 64k' over
qemu-img snapshot -c s over
qemu-io -c 'write -q -P 3 0 64k' over
img rebase -b two -F qcow2 over
qemu-img convert -O raw over now
qemu-img convert -l s -O raw over then
qemu-img check over
