# Bitmaps that a program has dropped that does not know them: others take their place.
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-img bitmap --add a.qcow2 old
printf '\0' | dd of=a.qcow2 bs=1 seek=95 conv=notrunc status=none
qemu-img info a.qcow2 2>/dev/null | grep -c bitmaps:
qemu-img bitmap --remove a.qcow2 old >/dev/null 2>&1; echo "exit $?"
qemu-img bitmap --add a.qcow2 new >/dev/null 2>&1; echo "exit $?"
qemu-img info a.qcow2 | grep -A6 bitmaps:
qemu-img check -q -r leaks a.qcow2 >/dev/null 2>&1; echo "exit $?"
qemu-img check -q a.qcow2; echo "exit $?"
qemu-img info a.qcow2 | grep -A6 bitmaps:
