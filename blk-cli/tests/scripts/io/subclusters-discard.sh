# Whole clusters are discarded, parts stay.
qemu-img create -q -f raw base 1M
qemu-io -f raw -c 'write -P 9 0 1M' base >/dev/null
qemu-img create -q -f qcow2 -o extended_l2=on -b base -F raw a.qcow2 1M
qemu-img create -q -f qcow2 -o extended_l2=on b.qcow2 1000k
for image in a.qcow2 b.qcow2; do
    qemu-io -c 'write -P 1 0 4k' -c 'write -P 2 64k 64k' -c 'write -z 192k 4k' -c 'write -c -P 3 256k 64k' \
        -c 'write -P 4 990k 4k' $image >/dev/null
    qemu-io -c 'discard 0 4k' -c 'discard 66k 62k' -c 'discard 128k 64k' -c 'discard 192k 300k' \
        -c 'discard 960k 40k' $image
    qemu-img map --output=json $image
    qemu-img check $image
done
