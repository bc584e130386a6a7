qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' base.raw
qemu-img create -q -f raw short.raw 256k
qemu-io -f raw -c 'write -P 1 0 256k' short.raw
try() {
    base=$1
    shift
    echo "== $base $*"
    qemu-img create -q -f qcow2 -b "$base" -F raw t.qcow2 1M
    for command; do
        qemu-io -d unmap -c "$command" t.qcow2
    done
    qemu-io -c map -c 'alloc 512k 128k' t.qcow2
    qemu-img map --output=json t.qcow2
    qemu-img check t.qcow2
    qemu-img convert -O raw t.qcow2 "$base-$((number += 1))"
    rm t.qcow2
}
for base in base.raw short.raw; do
    try $base 'discard 512k 64k'
    try $base 'discard 128k 64k'
    try $base 'discard 500k 100k'
    try $base 'discard 500k 200k'
    try $base 'discard 0 1M'
    try $base 'write -z 512k 64k'
    try $base 'write -zu 128k 64k'
    try $base 'write -zn 512k 4k'
    try $base 'write -z 512k 4k'
    try $base 'write -z 128k 4k'
    try $base 'write -zn 128k 4k'
    try $base 'write -z 190k 200k'
    try $base 'write -P 2 128k 64k' 'write -z 128k 64k'
    try $base 'write -z 128k 64k' 'write -P 2 130k 1k'
    try $base 'discard 128k 64k' 'write -P 2 130k 1k'
done
