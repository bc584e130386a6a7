# Clusters of each size.
for cluster in 512 1k 16k; do
    qemu-img create -q -f qcow2 -o cluster_size=$cluster a.qcow2 8M
    qemu-io -c 'write -P 5 0 300k' -c 'write -P 6 5M 300k' a.qcow2 >/dev/null
    for bits in 8 64; do
        qemu-img amend -o refcount_bits=$bits a.qcow2; echo "exit $?"
        qemu-img check a.qcow2 | head -1
    done
    qemu-io -c 'read -P 5 0 300k' -c 'read -P 0 300k 4820k' -c 'read -P 6 5M 300k' a.qcow2 | grep -c failed
done
