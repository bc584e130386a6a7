# With -d the top of a chain of three keeps its content.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 2M
fill qcow2 base
qemu-img create -q -f qcow2 -b base -F qcow2 mid
qemu-io -c 'write -q -P 66 64k 64k' -c 'write -q -z 256k 64k' mid
qemu-img create -q -f qcow2 -b mid -F qcow2 top
qemu-io -c 'write -q -P 99 128k 64k' -c 'write -q -P 98 1900k 5k' top
img commit -d top
map top
map mid
img commit -d -b base top
map base
