# Leaks and copied flags of an image with subclusters are repaired; its marks of zeroes stay.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=32k a.qcow2 1M
qemu-io -c 'write -P 1 3k 6k' -c 'write -z 40k 5k' -c 'write -P 2 100k 100k' a.qcow2 >/dev/null
put a.qcow2 0x10010 '\000\005'
put a.qcow2 0x20030 '\000'
qemu-img check a.qcow2
echo "exit $?"
qemu-img check -r all a.qcow2
echo "exit $?"
qemu-img map --output=json a.qcow2
qemu-io -c 'read -P 1 3k 6k' -c 'read -P 0 40k 5k' -c 'read -P 2 100k 100k' a.qcow2
