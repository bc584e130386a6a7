# Bitmaps are copied on request.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-img bitmap --add -g 4k a.qcow2 on
qemu-img bitmap --add a.qcow2 off
qemu-io -c 'write -P 5 1M 64k' -c 'write 5M 1k' a.qcow2 >/dev/null
qemu-img bitmap --disable a.qcow2 off
qemu-img convert -O qcow2 a.qcow2 none.qcow2; echo "exit $?"; bitmaps none.qcow2
qemu-img convert --bitmaps -O qcow2 a.qcow2 b.qcow2; echo "exit $?"; bitmaps b.qcow2
dirty b.qcow2 on; dirty b.qcow2 off
qemu-img convert --bitmaps -c -o cluster_size=4k -O qcow2 a.qcow2 c.qcow2; echo "exit $?"; bitmaps c.qcow2
dirty c.qcow2 on
qemu-img convert --bitmaps -O qcow2 a.qcow2 b.qcow2 twice.qcow2; echo "exit $?"
qemu-img convert --skip-broken-bitmaps -O qcow2 a.qcow2 d.qcow2; echo "exit $?"
for image in a b c; do qemu-img check $image.qcow2 | head -1; done
