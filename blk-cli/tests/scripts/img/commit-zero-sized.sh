# Disks without a byte.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 0
qemu-img create -q -f qcow2 -b base -F qcow2 over
img commit over
qemu-img create -q -f qcow2 -b base -F qcow2 over 1M
qemu-io -c 'write -q -P 1 0 4k' over
img commit over
map base
qemu-img create -q -f qcow2 -b base -F qcow2 over 0
img commit over
qemu-img info base | grep 'virtual size'
