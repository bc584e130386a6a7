# A compressed cluster has no bitmap.
# Writes 8 bytes, given in octal, at an offset.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -c -P 3 0 64k' a.qcow2 >/dev/null
put a.qcow2 0x40008 '\000\000\000\000\000\000\000\001'
qemu-img check a.qcow2
echo "exit $?"
