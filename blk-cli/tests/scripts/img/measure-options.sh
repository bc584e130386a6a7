# Options of the format count.
for options in cluster_size=512 cluster_size=4k cluster_size=2M refcount_bits=1 refcount_bits=64 \
    preallocation=metadata preallocation=full compat=0.10 lazy_refcounts=on compression_type=zstd extended_l2=on; do
    qemu-img measure -O qcow2 -o $options --size 10G
done
