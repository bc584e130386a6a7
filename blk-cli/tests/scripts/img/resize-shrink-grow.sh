# What was cut off between two clusters does not come back.
for compat in 0.10 1.1; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o compat=$compat,cluster_size=4k a.qcow2 4M
    qemu-io -c 'write -P 1 0 4M' a.qcow2 >/dev/null
    for size in 3M 2052k 1M 4k; do
        qemu-img resize -q --shrink a.qcow2 $size
        qemu-img resize -q a.qcow2 4M
        qemu-img map --output=json a.qcow2 | sed 's/, "offset": [0-9]*//'
        qemu-io -r -c "read -P 1 0 $size" a.qcow2 | grep -v ops
    done
    qemu-io -r -c 'read -P 0 4k 4092k' a.qcow2 | grep -v ops
    qemu-img check a.qcow2 | sed '/Image end/d'
done
