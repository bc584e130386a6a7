# What a data file is too short for reads as zeroes.
for raw in off on; do
    rm -f t.qcow2 d
    qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=$raw t.qcow2 2M
    qemu-io -c 'write -P 7 0 2M' t.qcow2 | grep -v ops
    truncate -s 1M d
    qemu-io -c 'read -P 7 0 1M' -c 'read -P 0 1M 1M' t.qcow2 | grep -v ops
    qemu-io -c 'write -P 3 1500k 64k' t.qcow2 | grep -v ops
    qemu-io -c 'read -P 0 1M 476k' -c 'read -P 3 1500k 64k' t.qcow2 | grep -v ops
    qemu-img check t.qcow2 >/dev/null
    echo "exit $?"
done
