# Actions are done in the order in which they stand; what was done before one that fails stays.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-img bitmap --add --disable --enable --disable a.qcow2 b
echo "exit $?"; bitmaps a.qcow2
qemu-img bitmap --disable --enable a.qcow2 b
echo "exit $?"; bitmaps a.qcow2
qemu-img bitmap --remove --add -g 4k a.qcow2 b
echo "exit $?"; bitmaps a.qcow2
qemu-img bitmap --add --remove a.qcow2 c
echo "exit $?"; bitmaps a.qcow2
qemu-img bitmap --disable --add a.qcow2 c
echo "exit $?"; bitmaps a.qcow2
qemu-img bitmap --disable --merge missing --enable a.qcow2 b
echo "exit $?"; bitmaps a.qcow2
qemu-img bitmap --remove --remove a.qcow2 b
echo "exit $?"; bitmaps a.qcow2
qemu-img check a.qcow2 | head -1
