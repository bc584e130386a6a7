# Every width to every other.
qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 4M
qemu-io -c 'write -P 5 0 1M' -c 'write -P 6 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
for bits in 64 8 32 4 16 2; do
    qemu-img amend -o refcount_bits=$bits a.qcow2; echo "exit $?"
    qemu-img info a.qcow2 | grep refcount
    qemu-img check a.qcow2 | head -1
done
qemu-io -c 'write -P 7 3M 1M' a.qcow2 >/dev/null
qemu-io -c 'read -P 5 0 1M' -c 'read -P 6 1M 64k' -c 'read -P 0 2M 64k' -c 'read -P 7 3M 1M' a.qcow2 | grep -c failed
qemu-img check a.qcow2 | head -1
