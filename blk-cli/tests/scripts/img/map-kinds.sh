# Maps of images of every kind.
. "${0%/*}/../prelude"
for options in compat=0.10 cluster_size=512 cluster_size=2M extended_l2=on lazy_refcounts=on refcount_bits=1; do
    rm -f a b
    qemu-img create -q -f qcow2 -o $options a 1000448
    fill qcow2 a
    echo "== $options"
    map a
    qemu-img convert -c -O qcow2 -o $options a b
    map b
    map --image-opts driver=qcow2,file.driver=file,file.filename=b
    img map b | tail -n 1
done
