# A copied flag is set again.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
put a.qcow2 0x40000 '\000'
qemu-img check -r all a.qcow2 2>/dev/null
echo "exit $?"
qemu-img check a.qcow2
