# Bitmaps that nobody can trust are left out on request alone.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --add a.qcow2 broken
qemu-io -c 'write 0 64k' -c 'sigraise 9' a.qcow2 >/dev/null 2>&1
qemu-img bitmap --add a.qcow2 good
qemu-img convert --bitmaps -O qcow2 a.qcow2 b.qcow2 2>&1 | grep -v '^Try'
ls
qemu-img convert --bitmaps --skip-broken-bitmaps -O qcow2 a.qcow2 b.qcow2; echo "exit $?"
bitmaps b.qcow2
qemu-img check b.qcow2 | head -1
