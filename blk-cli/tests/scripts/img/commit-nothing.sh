# An image without a backing file, and files that are none.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 alone 1M
qemu-img create -q -f raw raw 1M
: > empty
for name in alone none '' .; do
    img commit "$name"
    img commit -d -b "$name" alone
done
img commit -f raw raw
img commit -f qcow2 raw
img commit
img commit alone alone
