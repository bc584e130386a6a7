# What map says of each mode; where the clusters lie, and how much of the file is a hole, is left out.
qemu-img create -q -f raw base.raw 2M
qemu-io -f raw -c 'write -P 1 0 2M' base.raw
qemu-img create -q -f raw short.raw 256k
qemu-io -f raw -c 'write -P 1 0 256k' short.raw
for mode in off metadata falloc full; do
    for base in '' '-b base.raw -F raw' '-b short.raw -F raw'; do
        echo "== $mode $base"
        qemu-img create -q -f qcow2 $base t.qcow2 1M
        qemu-io -c 'write -P 2 64k 64k' -c "truncate -m $mode 3M" -c length -c map -c 'read -P 0 1M 2M' t.qcow2
        qemu-img map --output=json t.qcow2 | sed 's/, "offset": [0-9]*//; s/"zero": true, "data": true/"zero": false, "data": true/'
        qemu-img check t.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
        qemu-io -c 'write -P 3 2M 1k' -c 'read -P 3 2M 1k' -c 'read -P 0 2098176 1000' t.qcow2 | sed 's/ -- .*//'
        rm t.qcow2
    done
done
for mode in metadata falloc full; do
    qemu-img create -q -f qcow2 t.qcow2 1M
    qemu-io -c "truncate -m $mode 512k" -c length t.qcow2
    echo "== unaligned $mode"
    qemu-img create -q -f qcow2 t.qcow2 1000k
    qemu-io -c "truncate -m $mode 1300k" -c map -c 'read -P 0 0 1300k' t.qcow2
done
qemu-io -c 'truncate -m metadata 2G' null-co:// 2>/dev/null
echo "exit $?"
