# A bitmap of another image.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-img create -q -f qcow2 b.qcow2 8M
qemu-img create -q -f qcow2 other.qcow2 4M
qemu-img create -q -f raw c.raw 8M
qemu-img bitmap --add a.qcow2 a; qemu-img bitmap --add b.qcow2 b; qemu-img bitmap --add other.qcow2 b
qemu-io -c 'write 0 1M' a.qcow2 >/dev/null; qemu-io -c 'write 2M 1M' b.qcow2 >/dev/null
qemu-img bitmap --merge b -b b.qcow2 -F qcow2 a.qcow2 a; echo "exit $?"
dirty a.qcow2 a
dirty b.qcow2 b
qemu-img bitmap --merge b -b b.qcow2 a.qcow2 a; echo "exit $?"
qemu-img bitmap --add --merge b --source-file b.qcow2 --source-format qcow2 a.qcow2 new; echo "exit $?"
dirty a.qcow2 new
qemu-img bitmap --merge b -b other.qcow2 -F qcow2 a.qcow2 a; echo "exit $?"
qemu-img bitmap --merge b -b c.raw -F raw a.qcow2 a; echo "exit $?"
qemu-img bitmap --merge missing -b b.qcow2 -F qcow2 a.qcow2 a; echo "exit $?"
qemu-img bitmap --merge b -b missing.qcow2 -F qcow2 a.qcow2 a; echo "exit $?"
qemu-img bitmap --add -b b.qcow2 a.qcow2 c; echo "exit $?"
qemu-img bitmap --merge a -F qcow2 a.qcow2 a; echo "exit $?"
dirty a.qcow2 a
