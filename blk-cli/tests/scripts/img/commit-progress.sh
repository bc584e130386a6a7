# How far it is; nothing with -q.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 8M
qemu-img create -q -f qcow2 -b base -F qcow2 over
qemu-io -c 'write -q -P 1 0 64k' over
img commit -d -p -q over
img commit -d -q over
img commit -d -p over | tr '\r' '\n' | tail -n 3
qemu-img create -q -f qcow2 -b base -F qcow2 empty
img commit -p empty | tr '\r' '\n' | tail -n 3
