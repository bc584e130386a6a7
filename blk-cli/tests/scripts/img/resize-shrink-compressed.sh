# Compressed clusters share clusters of the file with others.
for type in zlib zstd; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o compression_type=$type a.qcow2 2M
    for at in 0 64k 128k 192k 1M 1088k 1984k; do
        qemu-io -c "write -c -P 3 $at 64k" a.qcow2 >/dev/null
    done
    for size in 1984k 1088k 1025k 128k 100k; do
        qemu-img resize --shrink a.qcow2 $size
        qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
        qemu-img map --output=json a.qcow2
    done
    qemu-io -r -c 'read -P 3 0 100k' a.qcow2 | grep -v ops
done
