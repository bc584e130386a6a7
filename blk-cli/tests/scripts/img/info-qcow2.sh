# A qcow2 image, for people.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
info a.qcow2
qemu-img create -q -f qcow2 -o cluster_size=2M,refcount_bits=64,lazy_refcounts=on,compression_type=zstd b.qcow2 1G
info b.qcow2 | grep -v 'file length'
