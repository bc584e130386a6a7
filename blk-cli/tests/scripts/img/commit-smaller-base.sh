# A base that is smaller than the overlay grows, whatever its format and clusters.
. "${0%/*}/../prelude"
for options in '-f raw' '-f qcow2' '-f qcow2 -o compat=0.10' '-f qcow2 -o cluster_size=512' \
    '-f qcow2 -o cluster_size=2M' '-f qcow2 -o extended_l2=on' '-f qcow2 -o lazy_refcounts=on' \
    '-f qcow2 -o refcount_bits=1' '-f qcow2 -o preallocation=metadata'; do
    for size in 512 300k 1000448; do
        rm -f base over
        format=raw
        case $options in *qcow2*) format=qcow2 ;; esac
        qemu-img create -q $options base $size
        qemu-io -f $format -c 'write -q -P 1 0 512' base
        qemu-img create -q -f qcow2 -b base -F $format over 2M
        qemu-io -c 'write -q -P 2 100k 3k' -c 'write -q -z 1M 70k' -c 'write -q -P 4 2047k 1k' over
        echo "== $size $options"
        img commit over
        qemu-img info base | grep 'virtual size'
        qemu-io -c 'read -q -P 2 100k 3k' -c 'read -q -P 0 1M 70k' -c 'read -q -P 4 2047k 1k' over
    done
done
