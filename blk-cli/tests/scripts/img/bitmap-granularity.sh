# Every granularity, and what is none.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 64M
for size in 0 1 256 511 512 513 1k 3k 4k 1M 1G 2G 4G 8G -1 x 1.5k; do
    qemu-img bitmap --add --granularity=$size a.qcow2 "g$size"; echo "$size: exit $?"
done
bitmaps a.qcow2
qemu-img bitmap --clear -g 64k a.qcow2 g512; echo "exit $?"
qemu-img bitmap --add -g 64k -g 32k a.qcow2 last; echo "exit $?"
bitmaps a.qcow2
for cluster in 512 4k 64k 2M; do
    qemu-img create -q -f qcow2 -o cluster_size=$cluster b.qcow2 1M
    qemu-img bitmap --add b.qcow2 usual
    list b.qcow2
done
