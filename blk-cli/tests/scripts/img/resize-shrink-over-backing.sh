# The backing file is longer than the disk: nothing of it shows where the disk ended once.
qemu-img create -q -f raw base 4M
qemu-io -f raw -c 'write -P 9 0 4M' base >/dev/null
for options in compat=1.1 extended_l2=on; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o $options -b base -F raw a.qcow2 3M
    qemu-io -c 'write -P 1 1M 1M' a.qcow2 >/dev/null
    qemu-img resize --shrink a.qcow2 1536k
    qemu-io -r -c 'read -P 9 0 1M' -c 'read -P 1 1M 512k' a.qcow2 | grep -v ops
    qemu-img resize --shrink a.qcow2 512k
    qemu-img map --output=json a.qcow2 | sed 's/, "offset": [0-9]*//'
    qemu-img resize a.qcow2 3M
    qemu-io -r -c 'read -P 9 0 512k' -c 'read -P 0 512k 2560k' a.qcow2 | grep -v ops
    qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
done
