# Compressed targets, by several threads and in any order.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 5M
fill qcow2 a
qemu-io -c 'write -q -P 9 3M 300k' -c 'write -q -P 8 4999k 3k' a
for options in cluster_size=512 cluster_size=2M compression_type=zstd extended_l2=on compat=0.10 refcount_bits=1; do
    for words in '' '-m 16 -W' '-S 0'; do
        rm -f b
        echo "== $options $words"
        img convert -c $words -o $options -O qcow2 a b
        img compare a b
        map b
        qemu-img check b | sed '/Image end/d; s/, [0-9.]*% frag/, N% frag/'
    done
done
