# The top of a chain, a disk with a snapshot, and compressed clusters.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 1M
fill qcow2 base
qemu-img create -q -f qcow2 -b base -F qcow2 over 1500k
qemu-io -c 'write -q -c -P 9 64k 64k' -c 'write -q -z 256k 64k' over
qemu-img snapshot -c one over
qemu-io -c 'write -q -P 8 64k 64k' over
for words in bs=64k 'bs=100k skip=2' 'bs=1M skip=1' 'bs=1M count=1'; do
    img dd -f qcow2 -O raw $words if=over of="$words.raw"
    img dd -f qcow2 -O qcow2 $words if=over of=out
    img compare -f qcow2 -F raw out "$words.raw"
done
