# Strict comparison tells stored, marked and compressed clusters apart.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
qemu-io -c 'write -q -P 1 0 64k' -c 'write -q -P 0 128k 64k' a
qemu-img convert -c -O qcow2 a packed
qemu-img convert -O qcow2 a found
qemu-img convert -S 0 -O qcow2 a stored
qemu-img create -q -f qcow2 -b a -F qcow2 over
for other in a packed found stored over; do
    for one in a packed; do
        echo "== $one $other"
        img compare $one $other
        img compare -s $one $other | sed 's/Offset [0-9]*/Offset N/'
    done
done
