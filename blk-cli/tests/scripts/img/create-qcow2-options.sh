# Every option that a qcow2 image can have shows in the line, in a fixed order.
qemu-img create -f qcow2 -o cluster_size=4k,refcount_bits=8,lazy_refcounts=on,compression_type=zstd a.qcow2 1G
echo "exit $?"
qemu-img create -f qcow2 -o refcount_bits=1 -o cluster_size=2M -o compat=1.1 b.qcow2 10M
qemu-img create -f qcow2 -o compat=v3,preallocation=off c.qcow2 10M
qemu-img check b.qcow2
