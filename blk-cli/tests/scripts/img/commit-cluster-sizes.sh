# Bases and overlays with clusters of several sizes.
. "${0%/*}/../prelude"
for base in 512 64k 2M; do
    for over in 512 4k 64k 2M; do
        rm -f base over
        qemu-img create -q -f qcow2 -o cluster_size=$base base 1M
        fill qcow2 base
        qemu-img create -q -f qcow2 -o cluster_size=$over -b base -F qcow2 over
        qemu-io -c 'write -q -P 2 10k 3k' -c 'write -q -z 130k 70k' -c 'write -q -P 3 600k 90k' -c 'discard -q 0 8k' over
        echo "== $over over $base"
        img commit over
        test $base = 512 || test $over = 512 || test $over = 4k || map over
        qemu-io -c 'read -q -P 2 10k 3k' -c 'read -q -P 0 130k 70k' -c 'read -q -P 3 600k 90k' over
    done
done
