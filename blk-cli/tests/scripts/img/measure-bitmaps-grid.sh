# Room for bitmaps of several granularities and names.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1G
img measure -O qcow2 a
qemu-img bitmap --add -g 512 a fine
img measure -O qcow2 a
qemu-img bitmap --add -g 2G a coarse
qemu-img bitmap --add a "$(head -c 1000 /dev/zero | tr '\0' n)"
for words in '-O qcow2' '-O qcow2 -o cluster_size=512' '-O qcow2 -o cluster_size=2M' '-O qcow2 -o compat=0.10' \
    '-O raw' '--output=json -O qcow2'; do
    echo "== $words"
    img measure $words a
done
