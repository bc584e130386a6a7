# An overlay over a disk of a server: mapped, copied, committed into it, and put over another one.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 served 1M
fill qcow2 served
start -f qcow2 -e 2 served
qemu-img create -q -f qcow2 -b "$uri" -F raw over
qemu-io -c 'write -q -P 2 64k 64k' -c 'write -q -z 256k 64k' -c 'write -q -P 3 700k 512' over
map over
img convert -O raw over copy
img commit over
img compare -F raw over copy
qemu-io -c 'write -q -P 4 0 4k' over
img commit -d over
img rebase -b '' over
map over | grep -c 'depth 1'
stop
img compare over served
map served
