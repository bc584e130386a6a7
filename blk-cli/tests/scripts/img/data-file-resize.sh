# Both files grow.
for raw in off on; do
    rm -f t.qcow2 d
    qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=$raw t.qcow2 1M
    qemu-io -c 'write -P 5 0 1M' t.qcow2 | grep -v ops
    for mode in off metadata falloc full; do
        qemu-img resize --preallocation=$mode t.qcow2 +1M
        echo "exit $?"
        wc -c < d
        qemu-io -c 'read -P 5 0 1M' -c 'read -P 0 1M 1M' t.qcow2 | grep -v ops
        qemu-img compare -f qcow2 -F raw t.qcow2 d
        qemu-img check t.qcow2 >/dev/null
        echo "exit $?"
    done
done
