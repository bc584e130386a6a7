# A leak and a corruption at once.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
printf '\000\001' | dd of=a.qcow2 bs=1 seek=$((0x20000 + 2 * 20)) conv=notrunc 2>/dev/null
truncate -s $((65536 * 21)) a.qcow2
put a.qcow2 0x40000 '\000'
qemu-img check a.qcow2 2>/dev/null
echo "exit $?"
qemu-img check --output=json a.qcow2 2>/dev/null
echo "exit $?"
qemu-img check -r all --output=json a.qcow2 2>/dev/null
echo "exit $?"
