# What copied bitmaps would take.
for size in 1M 1G 10G; do
    for cluster in 512 4k 64k 2M; do
        [ $cluster = 512 ] && [ $size = 10G ] && continue
        qemu-img create -q -f qcow2 -o cluster_size=$cluster a.qcow2 $size
        qemu-img measure -O qcow2 a.qcow2
        qemu-img bitmap --add -g 4k a.qcow2 fine
        qemu-img bitmap --add -g 1M --disable a.qcow2 'a coarse one'
        qemu-img measure -O qcow2 a.qcow2
        qemu-img measure --output=json -O qcow2 -o cluster_size=1k a.qcow2
    done
done
