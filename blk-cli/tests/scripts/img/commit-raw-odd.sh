# A raw base whose end is no whole sector.
. "${0%/*}/../prelude"
for size in 1 511 700 100000 1000001; do
    rm -f base over
    truncate -s $size base
    qemu-img create -q -f qcow2 -b base -F raw over
    qemu-io -c 'write -q -P 1 0 512' over
    img commit over
    stat -c %s base
    map over
    qemu-img create -q -f qcow2 -b base -F raw over 2M
    qemu-io -c 'write -q -P 2 1M 512' over
    img commit over
    stat -c %s base
done
