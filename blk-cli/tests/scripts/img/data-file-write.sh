# Guest data lie at their offsets; parts of clusters are filled.
qemu-img create -q -f qcow2 -o data_file=d t.qcow2 2M
qemu-io -c 'write -P 7 70000 100' -c 'write -P 8 1M 128k' -c 'write -P 9 100k 1k' t.qcow2 | grep -v ops
qemu-io -f raw -r -c 'read -P 7 70000 100' -c 'read -P 8 1M 128k' -c 'read -P 0 64k 4464' d | grep -v ops
qemu-img map --output=json t.qcow2
qemu-img map t.qcow2
qemu-img check t.qcow2 | sed '/Image end/d'
