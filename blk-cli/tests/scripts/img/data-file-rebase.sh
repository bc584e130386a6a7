# To another backing file, with its content kept.
for name in one two; do
    qemu-img create -q $name.raw 1M
done
qemu-io -f raw -c 'write -P 1 0 1M' one.raw | grep -v ops
qemu-io -f raw -c 'write -P 1 0 512k' -c 'write -P 2 512k 512k' two.raw | grep -v ops
qemu-img create -q -f qcow2 -o data_file=d -b one.raw -F raw t.qcow2
qemu-io -c 'write -P 7 64k 64k' t.qcow2 | grep -v ops
qemu-img rebase -b two.raw -F raw t.qcow2
echo "exit $?"
qemu-io -c 'read -P 1 0 64k' -c 'read -P 7 64k 64k' -c 'read -P 1 128k 896k' t.qcow2 | grep -v ops
qemu-img map --output=json t.qcow2
qemu-img check t.qcow2 | sed '/Image end/d'
