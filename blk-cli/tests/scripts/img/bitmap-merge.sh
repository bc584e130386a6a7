# One bitmap takes what others hold, of any granularity.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-img bitmap --add -g 4k a.qcow2 fine
qemu-io -c 'write 4k 4k' -c 'write 3M 1M' a.qcow2 >/dev/null
qemu-img bitmap --add -g 1M --disable a.qcow2 coarse
qemu-img bitmap --add -g 64k --disable a.qcow2 same
qemu-img bitmap --merge fine a.qcow2 coarse; echo "exit $?"
dirty a.qcow2 coarse
qemu-img bitmap --merge coarse --merge fine a.qcow2 same; echo "exit $?"
dirty a.qcow2 same
qemu-img bitmap --merge same --enable a.qcow2 fine; echo "exit $?"
dirty a.qcow2 fine
qemu-img bitmap --merge fine a.qcow2 fine; echo "exit $?"
qemu-img bitmap --merge missing a.qcow2 fine; echo "exit $?"
qemu-img bitmap --merge fine a.qcow2 missing; echo "exit $?"
bitmaps a.qcow2
qemu-img check a.qcow2 | head -1
