# Bitmaps go with the disk that they are of, and with no other.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
qemu-img bitmap --add -g 4k a b0
qemu-img bitmap --add --disable a b1
qemu-io -c 'write -q -P 1 64k 64k' a
for size in 1M 2M; do
    for options in cluster_size=64k cluster_size=512 extended_l2=on compat=0.10; do
        rm -f b
        qemu-img create -q -f qcow2 -o $options b $size
        echo "== $size $options"
        img convert -n --bitmaps -O qcow2 a b
        bitmaps b
        qemu-img check b | sed '/Image end/d'
    done
done
img convert --bitmaps -O qcow2 a a b
img convert --bitmaps -O raw a b
