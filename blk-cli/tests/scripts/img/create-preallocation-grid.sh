# Every mode with every kind of cluster, count and table; over another image only where subclusters show it.
qemu-img create -q -f raw base 300k
for mode in off metadata falloc full; do
    for options in cluster_size=512 cluster_size=512,refcount_bits=1 cluster_size=1k,refcount_bits=64 \
        cluster_size=64k,compat=0.10 cluster_size=2M extended_l2=on extended_l2=on,cluster_size=16k lazy_refcounts=on; do
        for size in 512 300k; do
            rm -f a.qcow2
            qemu-img create -q -f qcow2 -o preallocation=$mode,$options a.qcow2 $size
            echo "exit $?"
            qemu-io -r -c map a.qcow2
            qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
        done
        rm -f b.qcow2
        qemu-img create -q -f qcow2 -o preallocation=$mode,$options -b base -F raw b.qcow2 400k
        echo "exit $?"
        [ -e b.qcow2 ] && qemu-io -r -c map b.qcow2
    done
done
exit 0
