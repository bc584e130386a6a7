# Preallocated clusters have no subcluster allocated: over a backing file they show it.
qemu-img create -q -f raw base 300k
qemu-io -f raw -c 'write -P 9 0 300k' base >/dev/null
for mode in off metadata falloc full; do
    rm -f a.qcow2 b.qcow2
    qemu-img create -q -f qcow2 -o extended_l2=on,preallocation=$mode a.qcow2 512k
    qemu-img map --output=json a.qcow2
    qemu-io -c 'write -P 1 100k 5k' -c 'write -z 300k 9k' a.qcow2
    qemu-img map --output=json a.qcow2
    qemu-img check a.qcow2
    qemu-img create -q -f qcow2 -o extended_l2=on,preallocation=$mode -b base -F raw b.qcow2 512k
    qemu-io -c 'write -P 1 100k 5k' -c 'write -z 200k 9k' b.qcow2
    qemu-img map --output=json b.qcow2
    qemu-io -c 'read -P 9 0 100k' -c 'read -P 1 100k 5k' -c 'read -P 9 105k 95k' -c 'read -P 0 300k 212k' b.qcow2
    qemu-img check b.qcow2
done
qemu-img create -q -f qcow2 -o preallocation=metadata -b base -F raw c.qcow2 512k
echo "exit $?"
