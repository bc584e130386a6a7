# Overlays with clusters of several sizes, from one backing file to another.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 1M
fill qcow2 one
qemu-img create -q -f qcow2 two 1M
qemu-io -c 'write -q -P 17 0 50k' -c 'write -q -P 7 256k 200k' two
for options in cluster_size=512 cluster_size=4k cluster_size=2M extended_l2=on compat=0.10 \
    extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=2M; do
    rm -f over
    qemu-img create -q -f qcow2 -o $options -b one -F qcow2 over
    qemu-io -c 'write -q -P 2 10k 3k' -c 'write -q -z 130k 70k' -c 'write -q -P 3 600k 90k' over
    qemu-img convert -O raw over before
    echo "== $options"
    img rebase -b two -F qcow2 over
    img compare -f qcow2 -F raw over before
    map over
done
