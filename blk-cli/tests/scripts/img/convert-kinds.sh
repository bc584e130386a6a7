# Images of every kind, to raw and to qcow2.
. "${0%/*}/../prelude"
qemu-img create -q -f raw plain.raw 1M
fill raw plain.raw
for options in compat=0.10 cluster_size=512 cluster_size=2M extended_l2=on lazy_refcounts=on refcount_bits=1 \
    refcount_bits=64; do
    rm -f a b
    qemu-img create -q -f qcow2 -o $options a 1000448
    fill qcow2 a
    echo "== $options"
    img convert -O raw a "$options.raw"
    img convert -O qcow2 -o $options a b
    img compare a b
    map b
done
img convert -f raw -O qcow2 plain.raw b
map b
img convert -f raw -O raw plain.raw c
