# Counts that do not fit, and widths that there are not.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 5 0 64k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-img snapshot -c two a.qcow2
for bits in 1 0 3 128 x -1; do
    qemu-img amend -o refcount_bits=$bits a.qcow2 2>/dev/null; echo "$bits: exit $?"
    qemu-img info a.qcow2 | grep refcount
done
qemu-img amend -o refcount_bits=2 a.qcow2; echo "exit $?"
qemu-img check a.qcow2 | head -1
cp a.qcow2 full.qcow2
qemu-img snapshot -c three full.qcow2 2>/dev/null; echo "exit $?"
rm full.qcow2
qemu-img create -q -f qcow2 -o compat=0.10 b.qcow2 1M
qemu-img amend -o refcount_bits=8 b.qcow2 2>/dev/null; echo "exit $?"
qemu-img amend -o refcount_bits=16 b.qcow2; echo "exit $?"
qemu-img amend -o refcount_bits=8,compat=1.1 b.qcow2; echo "exit $?"
qemu-img info b.qcow2 | grep -e compat: -e refcount
