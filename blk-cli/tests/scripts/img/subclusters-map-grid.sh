# The same writes with clusters of several sizes; larger ones have holes of the host in subclusters.
for size in 16k 32k 64k 128k; do
    for bits in 1 16 64; do
        rm -f a.qcow2
        qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=$size,refcount_bits=$bits a.qcow2 8M
        qemu-io -c 'write -P 1 513 5k' -c 'write -P 2 3M 70k' -c 'write -z 3080k 20k' -c 'write -P 3 3074k 1k' \
            -c 'write -z 5M 512' -c 'write -P 4 8128k 64k' a.qcow2 >/dev/null
        qemu-img map --output=json a.qcow2
        qemu-img check a.qcow2
    done
done
