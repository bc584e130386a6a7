# Bitmaps become as long as the disk; what was dirty behind it is forgotten.
dirty() { # FILE BITMAP: the dirty runs, as a server tells them
    qemu-nbd -r -f qcow2 -B "$2" -k "$PWD/socket" "$1" & server=$!
    until nbdinfo --map="qemu:dirty-bitmap:$2" "nbd+unix:///?socket=$PWD/socket" 2>/dev/null; do sleep 0.1; done
    wait $server; rm -f socket
}

qemu-img create -q -f qcow2 -o cluster_size=512 a.qcow2 8M
qemu-img bitmap --add -g 512 a.qcow2 fine
qemu-img bitmap --add -g 1M a.qcow2 coarse
qemu-io -c 'write 1M 6M' a.qcow2 >/dev/null
qemu-img bitmap --disable a.qcow2 coarse
for size in 7000k 2M 1024512; do
    case $size in 1024512) size=1049088;; esac
    qemu-img resize --shrink a.qcow2 $size; echo "exit $?"
    dirty a.qcow2 fine; dirty a.qcow2 coarse
    qemu-img check a.qcow2 | head -1
done
qemu-img resize a.qcow2 8M
dirty a.qcow2 fine
qemu-img info a.qcow2 | sed -n '/bitmaps:/,/refcount/p'
