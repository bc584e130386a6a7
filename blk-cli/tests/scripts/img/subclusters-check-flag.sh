# Copied flags of extended entries, and their repair.
# Writes 8 bytes, given in octal, at an offset.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 0 4k' -c 'write -P 2 64k 64k' -c 'write -z 72k 4k' a.qcow2 >/dev/null
put a.qcow2 0x40010 '\000'
qemu-img check a.qcow2
echo "exit $?"
qemu-img check -r all a.qcow2
echo "exit $?"
qemu-io -c 'read -P 2 64k 8k' -c 'read -P 0 72k 4k' -c 'read -P 2 76k 52k' a.qcow2
