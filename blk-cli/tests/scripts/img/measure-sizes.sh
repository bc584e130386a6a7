# Sizes of new images, empty ones.
. "${0%/*}/../prelude"
for size in 0 1 511 512 1M 1000001 1G 64G 100T; do
    for words in '-O raw' '-O qcow2' '-O qcow2 -o cluster_size=512' '-O qcow2 -o cluster_size=2M,extended_l2=on' \
        '-O qcow2 -o refcount_bits=64' '-O qcow2 -o refcount_bits=1,cluster_size=4k' '-O qcow2 -o preallocation=full' \
        '-O qcow2 -o preallocation=metadata' '--output=json -O qcow2 -o compat=0.10'; do
        echo "== $words $size"
        img measure $words --size $size
    done
done
for words in '--size -1' '--size x' '--size 8E' '--size 1M none' '--size 1M -f raw' '--size 1M -l x' '' '-O none --size 1M' \
    '-o none=1 -O qcow2 --size 1M' 'none' '--size'; do
    echo "== $words"
    img measure $words 2>/dev/null
done
