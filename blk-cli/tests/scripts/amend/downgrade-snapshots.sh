# Zero clusters of snapshots go too, also those in tables that they share.
qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 9 0 1M' base.raw >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2
qemu-io -c 'write -P 5 0 256k' -c 'write -z 512k 64k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-img snapshot -c two a.qcow2
qemu-io -c 'write -P 6 512k 64k' -c 'write -z -u 128k 64k' a.qcow2 >/dev/null
qemu-img amend -o compat=0.10 a.qcow2; echo "exit $?"
qemu-img snapshot -l a.qcow2 | awk '{ print $1, $2 }'
qemu-img check a.qcow2 | head -1
qemu-io -c 'read -P 6 512k 64k' -c 'read -P 0 128k 64k' -c 'read -P 5 0 128k' a.qcow2 | grep -c failed
for name in one two; do
    qemu-img snapshot -a $name a.qcow2; echo "exit $?"
    qemu-io -c 'read -P 0 512k 64k' -c 'read -P 5 0 256k' -c 'read -P 9 576k 448k' a.qcow2 | grep -c failed
    qemu-img check a.qcow2 | head -1
done
