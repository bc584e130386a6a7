# Many bitmaps, which need several clusters of a directory.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o cluster_size=512 a.qcow2 1M
for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    qemu-img bitmap --add -g 64k a.qcow2 "bitmap number $number"
done
qemu-io -c 'write 128k 64k' a.qcow2 >/dev/null
for number in 1 3 7 20; do qemu-img bitmap --remove a.qcow2 "bitmap number $number"; done
bitmaps a.qcow2
qemu-img check a.qcow2 | head -1
