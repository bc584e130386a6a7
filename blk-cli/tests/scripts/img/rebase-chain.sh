# To disks of the same chain, and to another chain.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 1M
fill qcow2 base
qemu-img create -q -f qcow2 -b base -F qcow2 mid
qemu-io -c 'write -q -P 66 64k 64k' -c 'write -q -z 256k 64k' mid
qemu-img create -q -f qcow2 -b mid -F qcow2 top
qemu-io -c 'write -q -P 99 128k 64k' top
qemu-img convert -O raw top before
qemu-img create -q -f qcow2 -b base -F qcow2 other
qemu-io -c 'write -q -P 66 80k 64k' other
for backing in base mid other mid '' other; do
    img rebase -b "$backing" ${backing:+-F qcow2} top
    img compare -f qcow2 -F raw top before
    map top
done
