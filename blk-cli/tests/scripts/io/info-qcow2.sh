for options in compat=1.1 compat=0.10 cluster_size=512 cluster_size=2M refcount_bits=1 compression_type=zstd lazy_refcounts=on; do
    qemu-img create -q -f qcow2 -o $options t.qcow2 1M
    qemu-io -c info t.qcow2
done
