# What an image says of its data file, whether that is there or not.
for raw in off on; do
    qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=$raw t.qcow2 1M
    qemu-img info t.qcow2 | grep -E 'data file|extended|virtual'
    qemu-img info --output=json t.qcow2 | grep data-file
    rm d
    qemu-img info t.qcow2 | grep 'data file'
    echo "exit $?"
    qemu-io -c 'read 0 512' t.qcow2
    echo "exit $?"
    qemu-img check t.qcow2
    echo "exit $?"
done
rm t.qcow2
