# Whether a cluster is a hole of the file is left out.
for mode in off metadata falloc full; do
    for version in 0.10 1.1; do
        qemu-img create -q -f qcow2 -o compat=$version t.qcow2 1M
        qemu-img resize --preallocation=$mode t.qcow2 3M
        echo "exit $?"
        qemu-img map --output=json t.qcow2 | sed 's/, "offset": [0-9]*//; s/"zero": true, "data": true/"zero": false, "data": true/'
        qemu-img check t.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
    done
done
qemu-img resize --shrink --preallocation=metadata t.qcow2 1M
echo "exit $?"
