# Compressed clusters of an overlay, over compressed ones of the base.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 plain 1M
fill qcow2 plain
for type in zlib zstd; do
    rm -f base over
    qemu-img convert -c -o compression_type=$type -O qcow2 plain base
    qemu-img create -q -f qcow2 -o compression_type=$type -b base -F qcow2 over
    qemu-io -c 'write -q -c -P 2 0 64k' -c 'write -q -c -P 3 320k 64k' -c 'write -q -P 4 64k 4k' over
    img commit over
    map base
    map over
done
