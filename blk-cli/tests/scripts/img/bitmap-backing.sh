# An overlay's writes are no business of its backing file's bitmaps.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base.qcow2 4M
qemu-img bitmap --add base.qcow2 b
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
qemu-img bitmap --add over.qcow2 b
qemu-io -c 'write 1M 100' -c 'write -z 2M 64k' over.qcow2 >/dev/null
dirty over.qcow2 b
dirty base.qcow2 b
