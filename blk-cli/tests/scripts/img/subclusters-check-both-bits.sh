# A subcluster that is allocated and reads as zeroes: a read fails, and check says so.
# Writes 8 bytes, given in octal, at an offset.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 0 4k' -c 'write -P 2 64k 64k' a.qcow2 >/dev/null
put a.qcow2 0x40008 '\000\000\000\001\000\000\000\003'
qemu-img check a.qcow2
echo "exit $?"
qemu-img check --output=json a.qcow2 2>/dev/null
echo "exit $?"
qemu-img check -r leaks a.qcow2
echo "exit $?"
qemu-io -r -c "read -P 1 0 4k" -c "read -P 2 64k 64k" a.qcow2 2>/dev/null
