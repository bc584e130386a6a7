# Clusters at no boundary, with data and without, and what is done about them.
# Writes 8 bytes, given in octal, at an offset.
. "${0%/*}/../prelude"
for bitmap in '\000\000\000\000\000\000\000\003' '\000\000\000\003\000\000\000\000' '\000\000\000\000\000\000\000\000'; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
    qemu-io -c 'write -P 1 0 4k' -c 'write -P 2 64k 64k' a.qcow2 >/dev/null
    put 0x40000 '\200\000\000\000\000\005\002\000'
    put 0x40008 "$bitmap"
    qemu-img check a.qcow2
    echo "exit $?"
done
qemu-img check -r all a.qcow2
echo "exit $?"
