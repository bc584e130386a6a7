# What a copy with options would take.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
for options in cluster_size=512 cluster_size=4k cluster_size=2M refcount_bits=1 preallocation=full compat=0.10 \
    backing_file=x,backing_fmt=raw; do
    qemu-img measure -O qcow2 -o $options a.qcow2
done
