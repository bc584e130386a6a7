# Files that others have open are left alone.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 1M
qemu-img create -q -f qcow2 -b base -F qcow2 mid
qemu-img create -q -f qcow2 -b mid -F qcow2 top
qemu-io -c 'write -q -P 1 0 4k' top
for file in base mid top; do
    start -f qcow2 $file
    img commit -d top 2>/dev/null
    img commit -d -b base top 2>/dev/null
    stop
done
map base
