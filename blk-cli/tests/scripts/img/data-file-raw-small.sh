# The same with tiny clusters and with subclusters.
for options in cluster_size=512 cluster_size=2M extended_l2=on,cluster_size=16k refcount_bits=1 refcount_bits=64 \
    lazy_refcounts=on; do
    rm -f t.qcow2 d
    qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on,$options t.qcow2 2M
    qemu-io -d unmap -c 'write -P 5 3k 1M' -c 'write -z 10k 64k' -c 'write -z -u 100k 64k' \
        -c 'discard 256k 64k' -c 'write -P 7 260k 100' t.qcow2 | grep -v ops
    qemu-img compare -f qcow2 -F raw t.qcow2 d
    qemu-img check t.qcow2 >/dev/null
    echo "$options: exit $?"
done
