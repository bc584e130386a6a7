# Zeroes from several lengths on are left out.
. "${0%/*}/../prelude"
qemu-img create -q -f raw a 1M
fill raw a
qemu-io -f raw -c 'write -q -P 1 300k 512' -c 'write -q -P 1 310k 1k' -c 'write -q -P 1 333k 20k' a
for size in 0 512 1k 4k 5k 64k 1M 16M; do
    echo "== $size"
    img convert -f raw -O qcow2 -S $size a b
    map b
    img convert -f raw -O raw -S $size a "$size.raw"
done
img convert -S 17M a b
img convert -S 511 a b
img convert -S -1 a b
