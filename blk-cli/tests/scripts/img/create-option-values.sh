# Values that an option does not take.
for option in cluster_size=3 cluster_size=256 cluster_size=4M refcount_bits=7 refcount_bits=128 compat=9 \
    compression_type=lzma preallocation=some lazy_refcounts=maybe cluster_size=x; do
    qemu-img create -f qcow2 -o $option a.qcow2 1M 2>/dev/null
    echo "exit $?"
done
ls
