# A plain data file goes with a backing file; a raw one does not.
qemu-img create -q base.raw 2M
qemu-io -f raw -c 'write -P 9 0 2M' base.raw | grep -v ops
qemu-img create -q -f qcow2 -o data_file=d -b base.raw -F raw t.qcow2
qemu-io -c 'write -P 1 100k 1k' -c 'write -z 256k 64k' t.qcow2 | grep -v ops
qemu-io -c 'read -P 9 0 100k' -c 'read -P 1 100k 1k' -c 'read -P 9 101k 155k' -c 'read -P 0 256k 64k' \
    -c 'read -P 9 320k 1700k' t.qcow2 | grep -v ops
qemu-img map --output=json t.qcow2
qemu-img map t.qcow2
qemu-img check t.qcow2 | sed '/Image end/d'
qemu-img create -q -f qcow2 -o data_file=r,data_file_raw=on raw.qcow2 1M
qemu-img rebase -u -b base.raw -F raw raw.qcow2
echo "exit $?"
qemu-img rebase -u -b '' t.qcow2
qemu-io -c 'read -P 0 0 64k' -c 'read -P 1 100k 1k' t.qcow2 | grep -v ops
