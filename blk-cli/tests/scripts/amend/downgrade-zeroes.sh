# Zero clusters without a backing file: those that take no space go, those that keep it become data.
# How much of the disk is what.
kinds() {
    qemu-img map --output=json "$1" |
        sed -n 's/.*"length": \([0-9]*\), "depth": \([0-9]\).*"zero": \([a-z]*\), "data": \([a-z]*\).*/\2 \3 \4 \1/p' |
        awk '{ bytes[$1 " " $2 " " $3] += $4 } END { for (kind in bytes) print kind, bytes[kind] }' | sort
}
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 5 0 256k' -c 'write -z 0 64k' -c 'write -z -u 64k 64k' -c 'write -z 512k 64k' a.qcow2 >/dev/null
qemu-img amend -o compat=0.10 a.qcow2; echo "exit $?"
kinds a.qcow2
qemu-io -c 'read -P 0 0 128k' -c 'read -P 5 128k 128k' -c 'read -P 0 256k 768k' a.qcow2 | grep -c failed
qemu-img check a.qcow2 | head -1
