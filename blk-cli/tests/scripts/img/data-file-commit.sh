# Into a base with a data file, and from an overlay with one.
qemu-img create -q -f qcow2 -o data_file=d1,data_file_raw=on base.qcow2 2M
qemu-io -c 'write -P 1 0 1M' base.qcow2 | grep -v ops
qemu-img create -q -f qcow2 -o data_file=d2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -z 256k 128k' -c 'write -P 3 1500k 10' top.qcow2 | grep -v ops
qemu-img commit top.qcow2
echo "exit $?"
qemu-io -c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' -c 'read -P 0 256k 128k' -c 'read -P 3 1500k 10' base.qcow2 \
    | grep -v ops
qemu-img compare -f qcow2 -F raw base.qcow2 d1
qemu-img compare top.qcow2 base.qcow2
qemu-img check top.qcow2 | sed '/Image end/d'
rm -f d2 top.qcow2
