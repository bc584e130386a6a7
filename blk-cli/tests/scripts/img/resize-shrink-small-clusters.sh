# Many tables and counts of every width: all of what is cut off is free again.
for bits in 1 8 64; do
    for cluster in 512 1k 4k; do
        rm -f a.qcow2
        qemu-img create -q -f qcow2 -o cluster_size=$cluster,refcount_bits=$bits a.qcow2 1M
        qemu-io -c 'write -P 1 0 300k' -c 'write -P 2 700k 200k' -c 'write -z 400k 100k' a.qcow2 >/dev/null
        for size in 800k 710000 450560 33k 512; do
            case $size in 710000) size=709632;; esac
            qemu-img resize -q --shrink a.qcow2 $size
            echo "exit $?"
            qemu-io -r -c map a.qcow2
            qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
        done
    done
done
