# Chains in which each disk ends elsewhere.
. "${0%/*}/../prelude"
for sizes in '1M 2M 3M' '3M 2M 1M' '1M 3M 2M' '1000448 1M 1000448' '0 1M 2M' '1M 0 1M'; do
    set -- $sizes
    rm -f base mid top
    qemu-img create -q -f qcow2 base $1
    qemu-img create -q -f qcow2 -b base -F qcow2 mid $2
    qemu-img create -q -f qcow2 -b mid -F qcow2 top $3
    for file in base mid top; do
        size=$(qemu-img info --output=json $file | sed -n 's/^    "virtual-size": \([0-9]*\),/\1/p')
        test $size -gt 512 && qemu-io -c "write -q -P 1 $((size - 512)) 512" $file
    done
    echo "== $sizes"
    map top
    img map top
    img map --output=json mid
done
