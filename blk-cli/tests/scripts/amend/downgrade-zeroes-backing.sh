# Zero clusters over a backing file become clusters of zeroes.
# How much of the disk is what.
kinds() {
    qemu-img map --output=json "$1" |
        sed -n 's/.*"length": \([0-9]*\), "depth": \([0-9]\).*"zero": \([a-z]*\), "data": \([a-z]*\).*/\2 \3 \4 \1/p' |
        awk '{ bytes[$1 " " $2 " " $3] += $4 } END { for (kind in bytes) print kind, bytes[kind] }' | sort
}
qemu-img create -q base.raw 1M
qemu-io -f raw -c 'write -P 9 0 1M' base.raw >/dev/null
for cluster in 4k 64k; do
    qemu-img create -q -f qcow2 -o cluster_size=$cluster -b base.raw -F raw a.qcow2
    qemu-io -c 'write -P 5 0 256k' -c 'write -z 0 64k' -c 'write -z -u 64k 64k' -c 'write -z 512k 64k' \
        -c 'discard 640k 64k' a.qcow2 >/dev/null
    qemu-img amend -o compat=0.10 a.qcow2; echo "exit $?"
    kinds a.qcow2
    qemu-io -c 'read -P 0 0 128k' -c 'read -P 5 128k 128k' -c 'read -P 9 256k 256k' -c 'read -P 0 512k 128k' \
        -c 'read -P 0 640k 64k' -c 'read -P 9 704k 320k' a.qcow2 | grep -c failed
    qemu-img check a.qcow2 | head -1
done
