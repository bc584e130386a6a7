# What was recorded is forgotten.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-img bitmap --add a.qcow2 b
qemu-io -c 'write 0 64k' -c 'write 1M 1' a.qcow2 >/dev/null
dirty a.qcow2 b
qemu-img bitmap --clear a.qcow2 b; echo "exit $?"
dirty a.qcow2 b
qemu-io -c 'write 3M 64k' a.qcow2 >/dev/null
dirty a.qcow2 b
qemu-img bitmap --disable --clear a.qcow2 b; echo "exit $?"
qemu-io -c 'write 2M 64k' a.qcow2 >/dev/null
dirty a.qcow2 b
qemu-img check a.qcow2 | head -1
