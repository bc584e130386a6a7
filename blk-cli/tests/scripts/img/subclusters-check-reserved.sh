# Bits that have no meaning.
# Writes 8 bytes, given in octal, at an offset.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 0 4k' a.qcow2 >/dev/null
put a.qcow2 0x40000 '\200\000\000\000\000\005\000\002'
put a.qcow2 0x40030 '\000\000\000\000\000\000\000\002'
qemu-img check a.qcow2
echo "exit $?"
