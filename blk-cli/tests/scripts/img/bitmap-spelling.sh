# Arguments that are none.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --add; echo "exit $?"
qemu-img bitmap --add a.qcow2 b c; echo "exit $?"
qemu-img bitmap a.qcow2 b; echo "exit $?"
qemu-img bitmap --merge a.qcow2; echo "exit $?"
qemu-img bitmap --clear a.qcow2 b; echo "exit $?"
qemu-img bitmap --rem a.qcow2 b; echo "exit $?"
qemu-img bitmap a.qcow2 --add b; echo "exit $?"
qemu-img bitmap a.qcow2 b --add -g 4k; echo "exit $?"
qemu-img bitmap --merge=b --merge b a.qcow2 c; echo "exit $?"
