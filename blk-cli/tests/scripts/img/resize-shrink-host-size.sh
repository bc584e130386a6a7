# The file ends after the last cluster in use, and blocks of counts that count nothing go too.
for size in 100M 3G; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o preallocation=metadata a.qcow2 $size
    for smaller in 64M 5M 64k; do
        qemu-img resize --shrink a.qcow2 $smaller
        length=$(wc -c < a.qcow2)
        [ "$length" -lt 80000000 ] && echo short
        qemu-img check a.qcow2 | head -2
    done
done
