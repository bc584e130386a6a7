# Subclusters of one cluster are filled one after the other, in any order.
qemu-img create -q -f raw base 256k
qemu-io -f raw -c 'write -P 9 0 256k' base >/dev/null
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k -b base -F raw a.qcow2 256k
for at in 31 0 17 5 16 30; do
    qemu-io -c "write -P $((at + 1)) $((at * 4096 + 100)) 3000" a.qcow2
    qemu-img map --output=json a.qcow2
done
qemu-io -c 'write -P 77 10000 100000' -c 'read -v 0 128k' a.qcow2 | grep -v ops | cksum
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
