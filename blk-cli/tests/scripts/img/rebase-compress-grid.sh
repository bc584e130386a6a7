# What is copied is stored compressed, cluster by cluster.
. "${0%/*}/../prelude"
head -c 1M /dev/zero | tr '\0' 'a' >raw
qemu-img convert -f raw -O qcow2 raw one
for options in cluster_size=512 cluster_size=64k cluster_size=2M compression_type=zstd compat=0.10; do
    rm -f over
    qemu-img create -q -f qcow2 -o $options -b one -F qcow2 over 1000448
    qemu-io -c 'write -q -P 2 130k 3k' over
    qemu-img convert -O raw over before
    echo "== $options"
    img rebase -c -b '' over
    img compare -f qcow2 -F raw over before
    map over
    qemu-img check over | sed '/Image end/d; s/, [0-9.]*% frag/, N% frag/'
done
