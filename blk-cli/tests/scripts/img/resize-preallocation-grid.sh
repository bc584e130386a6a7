# Every mode for what a disk gains.
for mode in off metadata falloc full; do
    for options in cluster_size=512,refcount_bits=1 cluster_size=1k,refcount_bits=64 cluster_size=2M extended_l2=on lazy_refcounts=on; do
        for size in 512 1000448; do
            rm -f a.qcow2
            qemu-img create -q -f qcow2 -o $options a.qcow2 $size
            qemu-io -c "write -P 1 0 512" a.qcow2 >/dev/null
            qemu-img resize --preallocation=$mode a.qcow2 +300k
            echo "exit $?"
            qemu-io -r -c "read -P 1 0 512" -c "read -P 0 $size 300k" a.qcow2 | grep -v ops
            qemu-io -r -c map a.qcow2
            qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
        done
    done
done
