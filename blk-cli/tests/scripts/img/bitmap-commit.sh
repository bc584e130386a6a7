# The base's bitmaps follow a commit, the overlay's stay.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-img bitmap --add base.qcow2 of-base
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
qemu-img bitmap --add over.qcow2 of-over
qemu-io -c 'write 1M 64k' -c 'write -z 3M 128k' over.qcow2 >/dev/null
qemu-img commit -q over.qcow2; echo "exit $?"
dirty base.qcow2 of-base
dirty over.qcow2 of-over
bitmaps over.qcow2; bitmaps base.qcow2
qemu-img check base.qcow2 | head -1; qemu-img check over.qcow2 | head -1
