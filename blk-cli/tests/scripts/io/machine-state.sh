# What lies behind the disk: another place, and no part of it.
for options in cluster_size=512 cluster_size=4k,compat=0.10 cluster_size=64k extended_l2=on lazy_refcounts=on; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o $options a.qcow2 1M
    qemu-io -c 'read -b -P 0 0 64k' -c 'write -P 1 0 1M' -c 'write -b -P 7 0 100k' -c 'write -b -P 8 512 1k' \
        -c 'read -b -P 7 0 512' -c 'read -b -P 8 512 1k' -c 'read -b -P 7 1536 100864' \
        -c 'read -b -P 0 100k 28k' -c 'read -b -P 0 1G 512' -c 'read -P 1 0 1M' -c length a.qcow2 | grep -v ops
    qemu-io -r -c 'read -b -P 7 1536 100864' -c 'read -b -v 1k 1k' a.qcow2 | grep -v ops
    qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
    qemu-io -r -c map a.qcow2
done
