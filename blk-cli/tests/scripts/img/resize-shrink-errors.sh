# What is no smaller size.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f raw a.raw 1M
for image in a.qcow2 a.raw; do
    for size in 512k -1M -2M -1025k 1 1023 +1000 -1000 0 --; do
        qemu-img resize -f ${image#a.} "$image" $size
        echo "exit $?"
    done
    qemu-img resize -f ${image#a.} --shrink "$image" -- -512k; echo "exit $?"
    qemu-img resize -f ${image#a.} --shrink "$image" -512k; echo "exit $?"
    for mode in metadata falloc full off bad; do
        qemu-img resize -f ${image#a.} --shrink --preallocation=$mode "$image" 256k; echo "exit $?"
    done
    qemu-img info "$image" | grep virtual
done
