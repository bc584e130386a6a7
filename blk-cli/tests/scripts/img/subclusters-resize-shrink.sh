# The end inside a cluster, and inside a subcluster.
qemu-img create -q -f raw base 1M
qemu-io -f raw -c 'write -P 9 0 1M' base >/dev/null
for below in '' '-b base -F raw'; do
    for size in 512k 200k 131k 130k 66048 512; do
        rm -f a.qcow2
        qemu-img create -q -f qcow2 -o extended_l2=on $below a.qcow2 1M
        qemu-io -c 'write -P 1 10k 100k' -c 'write -P 2 129k 1k' -c 'write -z 132k 8k' -c 'write -P 3 500k 200k' a.qcow2 >/dev/null
        qemu-img resize --shrink a.qcow2 $size
        qemu-img map --output=json a.qcow2 | sed 's/, "offset": [0-9]*//'
        qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
    done
done
