# Snapshots keep what the disk gives up, and bring it back.
qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 4M
qemu-io -c 'write -P 1 0 4M' a.qcow2 >/dev/null
qemu-img snapshot -c whole a.qcow2
qemu-io -c 'write -P 2 1M 1M' a.qcow2 >/dev/null
for size in 3M 1500k 2048; do
    qemu-img resize --shrink a.qcow2 $size
    echo "exit $?"
    qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
    qemu-img snapshot -c "at-$size" a.qcow2
done
qemu-img snapshot -a whole a.qcow2
qemu-img info a.qcow2 | grep virtual
qemu-io -r -c 'read -P 1 0 4M' a.qcow2 | grep -v ops
qemu-img snapshot -a at-1500k a.qcow2
qemu-img info a.qcow2 | grep virtual
qemu-io -r -c 'read -P 1 0 1M' -c 'read -P 2 1M 476k' a.qcow2 | grep -v ops
for name in whole at-3M at-1500k at-2048; do
    qemu-img snapshot -d $name a.qcow2
    qemu-img check a.qcow2 | head -1
done
