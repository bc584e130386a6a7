# What copies of images of every kind will take, and what they take.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 1M
fill qcow2 base
qemu-img create -q -f qcow2 -b base -F qcow2 over 3M
qemu-io -c 'write -q -P 9 64k 64k' -c 'write -q -z 256k 64k' -c 'write -q -P 9 2M 3k' over
qemu-img convert -c -O qcow2 over packed
qemu-img convert -O qcow2 -o cluster_size=512 over tiny
qemu-img convert -O raw over raw
for file in base over packed tiny raw; do
    for words in '-O raw' '-O qcow2' '-O qcow2 -o cluster_size=512' '-O qcow2 -o cluster_size=2M' \
        '-O qcow2 -o extended_l2=on' '-O qcow2 -o backing_file=base' '-O qcow2 -o preallocation=full' \
        '--output=json -O qcow2 -o refcount_bits=64'; do
        echo "== $file $words"
        img measure $words $file
    done
done
