# The size changes through a disk that copies what it reads, in every mode of preallocation.
qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 7 0 1M' base.raw >/dev/null
for mode in off metadata falloc full; do
    echo "== $mode"
    qemu-img create -q -f qcow2 -b base.raw -F raw t.qcow2 1M
    qemu-io -C -c 'read -P 7 64k 64k' -c "truncate -m $mode 2M" -c length -c 'read -P 0 1M 1M' -c map t.qcow2 2>errors | sed 's/ -- .*//; /ops;/d'
    cat errors
    qemu-img check t.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
done
