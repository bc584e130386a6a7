# A bitmap records while it is enabled.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-img bitmap --add a.qcow2 b
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
qemu-img bitmap --disable a.qcow2 b
qemu-io -c 'write 1M 64k' a.qcow2 >/dev/null
qemu-img bitmap --enable a.qcow2 b
qemu-io -c 'write 2M 64k' a.qcow2 >/dev/null
dirty a.qcow2 b
qemu-img check a.qcow2 | head -1
