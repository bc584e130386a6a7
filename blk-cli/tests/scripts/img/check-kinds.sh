# Images of every kind are checked, and repaired where nothing is wrong.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 1M
fill qcow2 base
for options in compat=0.10 cluster_size=512 cluster_size=2M extended_l2=on lazy_refcounts=on refcount_bits=1 preallocation=metadata; do
    rm -f a
    qemu-img create -q -f qcow2 -o $options -b base -F qcow2 a 2>/dev/null || qemu-img create -q -f qcow2 -o $options a 1M
    qemu-io -c 'write -q -P 1 3k 100k' -c 'write -q -z 300k 10k' a
    for words in '' '-q' '-r leaks' '-r all' '-T none' '-f qcow2' '-U'; do
        echo "== $options $words"
        img check $words a | sed '/Image end/d'
    done
done
for words in '-r some' '-f raw' '-f none' '-T some' '--output=some' '-r all -U' '-r'; do
    echo "== $words"
    img check $words a
done
