# A disk that grows gains zeroes, also where a larger backing file lies behind it.
qemu-img create -q -f raw base 2M
qemu-io -f raw -c 'write -P 9 0 2M' base >/dev/null
for size in 100k 101k 128k 4000; do
    rm -f a.qcow2
    qemu-img create -q -f qcow2 -o extended_l2=on -b base -F raw a.qcow2 $size
    qemu-io -c 'write -P 1 1000 100' a.qcow2 >/dev/null
    qemu-img resize a.qcow2 1M
    qemu-img map --output=json a.qcow2
    qemu-io -c 'read -P 0 128k 896k' -c 'read -v 0 128k' a.qcow2 | grep -v ops | cksum
    qemu-img check a.qcow2
done
