# Dirty bitmaps follow what goes to a data file.
for raw in off on; do
    rm -f t.qcow2 d
    qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=$raw t.qcow2 2M
    qemu-img bitmap --add --enable t.qcow2 b
    qemu-io -c 'write -P 1 256k 64k' -c 'write -z 1M 64k' t.qcow2 | grep -v ops
    qemu-img info t.qcow2 | grep -E 'bitmaps|name|data file'
    qemu-img check t.qcow2 >/dev/null
    echo "exit $?"
    qemu-img compare -f qcow2 -F raw t.qcow2 d
done
