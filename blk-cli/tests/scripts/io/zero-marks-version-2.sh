qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' base.raw
qemu-img create -q -f raw short.raw 256k
qemu-io -f raw -c 'write -P 1 0 256k' short.raw
try() {
    base=$1
    shift
    echo "== $base $*"
    if [ $base = none ]; then
        qemu-img create -q -f qcow2 -o compat=0.10 t.qcow2 1M
    else
        qemu-img create -q -f qcow2 -o compat=0.10 -b "$base" -F raw t.qcow2 1M
    fi
    for command; do
        qemu-io -d unmap -c "$command" t.qcow2
    done
    qemu-io -c map t.qcow2
    qemu-img map --output=json t.qcow2
    qemu-img check t.qcow2 | sed '/Image end/d'
    qemu-img convert -O raw t.qcow2 "$base-$((number += 1))"
    rm t.qcow2
}
for base in none base.raw short.raw; do
    try $base 'write -z 512k 64k'
    try $base 'write -zu 512k 64k'
    try $base 'write -zn 512k 64k'
    try $base 'write -zn 512k 4k'
    try $base 'write -z 512k 4k'
    try $base 'write -z 500k 100k'
    try $base 'discard 128k 64k'
    try $base 'discard 512k 64k'
    try $base 'write 512k 64k' 'discard 512k 64k'
    try $base 'write 512k 64k' 'write -zu 512k 64k'
    try $base 'write 512k 64k' 'write -z 514k 4k'
    try $base 'write -c 512k 64k' 'discard 512k 64k'
    try $base 'write -c 512k 64k' 'write -z 514k 4k'
done
