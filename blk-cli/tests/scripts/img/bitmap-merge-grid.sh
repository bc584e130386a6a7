# Merges between granularities, and between images.
. "${0%/*}/../prelude"
for from in 512 4k 64k 1M; do
    for to in 512 4k 64k 1M; do
        rm -f a b
        qemu-img create -q -f qcow2 a 2M
        qemu-img create -q -f qcow2 b 2M
        qemu-img bitmap --add -g $from a from
        qemu-io -c 'write -q 5k 512' -c 'write -q 1500k 70k' a
        qemu-img bitmap --add --disable -g $to b to
        echo "== $from $to"
        img bitmap --merge from -b a -F qcow2 b to
        dirty b to
    done
done
qemu-img create -q -f qcow2 c 3M
qemu-img bitmap --add c to
img bitmap --merge from -b a -F qcow2 c to
img bitmap --merge none -b a -F qcow2 c to
img bitmap --merge from -b none -F qcow2 c to
img bitmap --merge from -b a -F raw c to
