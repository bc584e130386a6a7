# Parts of a map, at offsets and of lengths that are no clusters.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 2M
fill qcow2 base
qemu-img create -q -f qcow2 -b base -F qcow2 over 3M
qemu-io -c 'write -q -P 9 64k 64k' -c 'write -q -z 256k 64k' over
for start in 0 1 511 64k 70000 1M 2M 3M 4M; do
    for length in 0 1 512 1000 100k 3M 8E; do
        echo "== $start $length"
        map -s $start -l $length over 2>&1
        img map -s $start -l $length over
    done
done
for words in '-s x' '-s -1' '-l x' '-l -1' '--start-offset=1k --max-length=1k' '-s 8E' '--output=some' '-f none'; do
    echo "== $words"
    img map $words over
done
