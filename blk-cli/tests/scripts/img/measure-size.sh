# New disks of several sizes.
for size in 0 1 512 65536 1M 10G 1T; do
    qemu-img measure -O qcow2 --size $size
done
qemu-img measure --size 1G
qemu-img measure -O raw --size 1000
