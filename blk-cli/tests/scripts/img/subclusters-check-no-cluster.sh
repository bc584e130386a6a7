# Subclusters that are allocated where there is no cluster.
# Writes 8 bytes, given in octal, at an offset.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 0 4k' a.qcow2 >/dev/null
put a.qcow2 0x40038 '\000\000\001\000\000\000\000\001'
put a.qcow2 0x40048 '\000\000\000\000\200\000\000\000'
qemu-img check a.qcow2
echo "exit $?"
qemu-img check -r leaks a.qcow2
echo "exit $?"
qemu-io -r -c 'read 192k 4k' -c 'read 256k 4k' a.qcow2 2>/dev/null
rm a.qcow2
