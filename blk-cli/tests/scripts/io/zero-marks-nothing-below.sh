try() {
    echo "== $*"
    qemu-img create -q -f qcow2 t.qcow2 1M
    for command; do
        qemu-io -d unmap -c "$command" t.qcow2
    done
    qemu-io -c map -c 'alloc 512k 128k' -c 'read -P 0 512k 4k' t.qcow2
    qemu-img map --output=json t.qcow2
    qemu-img check t.qcow2
    rm t.qcow2
}
try 'write -z 512k 64k'
try 'write -zu 512k 64k'
try 'write -zn 512k 64k'
try 'write -zun 512k 128k'
try 'write -z 512k 4k'
try 'write -zn 516k 4k'
try 'write -z 520k 100k'
try 'write -z 500k 300k'
try 'write 512k 64k' 'write -z 512k 64k'
try 'write 512k 64k' 'write -z 512k 4k'
try 'write 512k 64k' 'write -z 512k 64k' 'write -z 514k 4k'
try 'write -c 512k 64k' 'write -z 512k 4k'
try 'write -z 512k 64k' 'write -P 0 512k 4k'
