# What a disk gains may be allocated at once.
for mode in off metadata falloc full; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 100k
    qemu-io -c 'write -P 1 90k 10k' a.qcow2 >/dev/null
    qemu-img resize --preallocation=$mode a.qcow2 1M
    echo "exit $?"
    qemu-io -c 'read -P 1 90k 10k' -c 'read -P 0 100k 924k' a.qcow2
    qemu-img check a.qcow2 | grep -v end
done
