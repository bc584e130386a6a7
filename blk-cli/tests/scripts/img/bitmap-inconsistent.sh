# A bitmap that was not saved can be removed, and nothing else.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --add a.qcow2 b
qemu-img bitmap --add a.qcow2 c
qemu-io -c 'write 0 64k' -c 'sigraise 9' a.qcow2 >/dev/null 2>&1
bitmaps a.qcow2
qemu-img check a.qcow2 | head -1
for action in --add --clear --enable --disable '--merge c'; do
    qemu-img bitmap $action a.qcow2 b 2>&1 | grep -v '^Try'
done
qemu-img bitmap --add a.qcow2 new; echo "exit $?"
qemu-img bitmap --merge b a.qcow2 new 2>&1 | grep -v '^Try'
qemu-io -c 'write 64k 64k' a.qcow2 >/dev/null
qemu-img resize a.qcow2 2M 2>&1 | grep -v '^Try'
bitmaps a.qcow2
qemu-img bitmap --remove a.qcow2 b; echo "exit $?"
qemu-img bitmap --remove a.qcow2 c; echo "exit $?"
bitmaps a.qcow2
qemu-img resize a.qcow2 2M; echo "exit $?"
bitmaps a.qcow2
qemu-img check a.qcow2 | head -1
