# Bitmaps stay with another width of refcounts.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --add a.qcow2 one
qemu-img bitmap --add --disable a.qcow2 two
qemu-io -c 'write 0 100k' a.qcow2 >/dev/null
for bits in 64 8 16; do
    qemu-img amend -o refcount_bits=$bits,lazy_refcounts=on a.qcow2; echo "exit $?"
    qemu-img info a.qcow2 | sed -n '/bitmaps:/,/refcount/p'
    qemu-img check a.qcow2 | head -1
done
