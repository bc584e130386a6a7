# All modes of preallocation, plain and raw.
for raw in off on; do
    for mode in off metadata falloc full; do
        qemu-img create -f qcow2 -o data_file=d-$raw-$mode,data_file_raw=$raw,preallocation=$mode t-$raw-$mode 2M
        echo "exit $?"
        wc -c < d-$raw-$mode
        qemu-img map --output=json t-$raw-$mode
        qemu-img check t-$raw-$mode | sed '/Image end/d'
    done
done
