# How many zeroes are left out.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-io -c 'write -P 4 8M 1M' -c 'write -P 0 8200k 8k' -c 'write -P 0 8400k 64k' a.qcow2 >/dev/null
for size in 4k 8k 64k 1M; do
    qemu-img convert -O qcow2 -o cluster_size=4k -S $size a.qcow2 b.qcow2
    qemu-img map --output=json b.qcow2
done
