# A qcow2 disk becomes smaller: between clusters, inside one, to almost nothing.
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-io -c 'write -P 1 0 8M' a.qcow2 >/dev/null
for size in 4M -1M 3000320 65536 1536 512; do
    qemu-img resize --shrink a.qcow2 $size
    echo "exit $?"
    qemu-img info a.qcow2 | grep virtual
    qemu-img map --output=json a.qcow2 | sed 's/, "offset": [0-9]*//'
    qemu-img check a.qcow2 | sed '/Image end/d'
    wc -c < a.qcow2
done
qemu-io -r -c 'read -P 1 0 512' a.qcow2 | grep read
