# An export of a snapshot inside the image: by name, by ID, and of one that is not there.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 1M' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-io -f qcow2 -c 'write -P 2 0 512k' a.qcow2 >/dev/null
qemu-img snapshot -c two a.qcow2
qemu-io -f qcow2 -c 'write -P 3 0 1M' a.qcow2 >/dev/null
start -f qcow2 -r -l one a.qcow2
nbdinfo --is readonly "$uri"; echo "exit $?"
qemu-io -f raw -r -c 'read -P 1 0 1M' "$uri" | grep -v ops
stop
start -f qcow2 -r -l snapshot.id=2 a.qcow2
qemu-io -f raw -r -c 'read -P 2 0 512k' -c 'read -P 1 512k 512k' "$uri" | grep -v ops
stop
qemu-nbd -f qcow2 -r -l three -k "$PWD/s" a.qcow2 2>/dev/null
echo "exit $?"
rm -f s
qemu-io -f qcow2 -c 'read -P 3 0 1M' a.qcow2 | grep -v ops
