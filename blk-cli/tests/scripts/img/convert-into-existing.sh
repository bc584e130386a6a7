# Targets that exist: of every kind, larger, smaller, with content.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
fill qcow2 a
for options in '-f raw' '-f qcow2' '-f qcow2 -o compat=0.10' '-f qcow2 -o cluster_size=512' \
    '-f qcow2 -o cluster_size=2M' '-f qcow2 -o extended_l2=on' '-f qcow2 -b a -F qcow2'; do
    for size in 512k 1100k; do
        for words in '' '-S 0' '-W -m 4'; do
            rm -f b
            format=qcow2
            test "$options" = '-f raw' && format=raw
            qemu-img create -q $options b $size
            qemu-io -f $format -c 'write -q -P 77 100k 200k' b
            echo "== $options $size $words"
            img convert -n $words -O $format a b
            test $format = raw || map b
        done
    done
done
