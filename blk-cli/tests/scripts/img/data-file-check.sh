# The data file is not walked: entries are.
qemu-img create -q -f qcow2 -o data_file=d t.qcow2 1M
qemu-io -c 'write -P 1 0 256k' -c 'write -P 2 512k 64k' t.qcow2 | grep -v ops
qemu-img check t.qcow2 | sed '/Image end/d'
qemu-img check --output=json t.qcow2 | grep -E 'clusters|errors'
# The second cluster loses its copied flag.
printf '\000' | dd of=t.qcow2 bs=1 seek=$((0x40008)) conv=notrunc 2>/dev/null
qemu-img check t.qcow2
echo "exit $?"
qemu-img check -r all t.qcow2 | grep -v 'Image end'
echo "exit $?"
qemu-img check t.qcow2 >/dev/null
echo "exit $?"
qemu-io -c 'read -P 1 0 256k' -c 'read -P 2 512k 64k' t.qcow2 | grep -v ops
