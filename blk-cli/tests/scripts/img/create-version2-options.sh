# What version 2 does not have.
for option in refcount_bits=8 lazy_refcounts=on compression_type=zstd; do
    qemu-img create -f qcow2 -o compat=0.10,$option a.qcow2 1M
    echo "exit $?"
done
