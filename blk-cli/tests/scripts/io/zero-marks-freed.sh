# Where clusters are freed: the place of what is freed last may differ, its guest range may not.
try() {
    echo "== $*"
    qemu-img create -q -f qcow2 t.qcow2 1M
    for command; do
        qemu-io -d unmap -c "$command" t.qcow2
    done
    qemu-io -c map -c 'alloc 512k 128k' -c 'read -P 0 512k 4k' t.qcow2
    qemu-img map --output=json t.qcow2
    qemu-img check t.qcow2 | sed '/Image end/d'
    rm t.qcow2
}
try 'write 512k 64k' 'write -zu 512k 64k'
try 'write 512k 64k' 'discard 512k 64k'
try 'write -c 512k 64k' 'write -z 512k 64k'
try 'write -c 512k 64k' 'discard 512k 64k'
try 'write 512k 64k' 'write -z 512k 64k' 'write -zu 514k 4k'
try 'write 512k 64k' 'write -z 512k 64k' 'discard 512k 64k'
try 'write 448k 192k' 'discard 500k 300k'
try 'write -z 512k 64k' 'discard 512k 64k'
try 'discard 512k 64k'
