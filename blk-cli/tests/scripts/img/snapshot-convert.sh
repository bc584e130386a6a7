# A copy of what a snapshot holds: by ID, by name, by options.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 128k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-io -c 'write -P 2 64k 128k' a.qcow2 >/dev/null
qemu-img snapshot -c two a.qcow2
qemu-io -c 'write -P 3 0 1M' a.qcow2 >/dev/null
qemu-img convert -l one -O raw a.qcow2 1.raw
qemu-img convert -l 2 -O raw a.qcow2 2.raw
qemu-img convert -l snapshot.id=1 -O raw a.qcow2 3.raw
qemu-img convert -l snapshot.name=two -O raw a.qcow2 4.raw
qemu-img convert -l snapshot.id=2,snapshot.name=two -O qcow2 a.qcow2 5.qcow2
cmp 1.raw 3.raw && cmp 2.raw 4.raw && qemu-img compare 5.qcow2 2.raw
qemu-io -f raw -c 'read -P 1 0 128k' -c 'read -P 0 128k 896k' 1.raw | grep -v ops
qemu-io -f raw -c 'read -P 1 0 64k' -c 'read -P 2 64k 128k' 2.raw | grep -v ops
for bad in three snapshot.id=9 snapshot.id=1,snapshot.name=two; do
    qemu-img convert -l $bad -O raw a.qcow2 bad.raw
    echo "$bad exit $?"
done
qemu-img convert -l snapshot.date=1 -O raw a.qcow2 bad.raw 2>/dev/null
echo "exit $?"
