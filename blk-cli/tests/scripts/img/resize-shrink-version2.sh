# Version 2 has no marks for zeroes.
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=512 a.qcow2 600k
qemu-io -c 'write -P 1 0 600k' -c 'discard 100k 100k' a.qcow2 >/dev/null
for size in 300k 150k 50k; do
    qemu-img resize --shrink a.qcow2 $size
    qemu-io -r -c map a.qcow2
    qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
done
