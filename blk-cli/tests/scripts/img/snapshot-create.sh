# Snapshots of a disk that goes on changing.
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 3M 64k' a.qcow2 >/dev/null
qemu-img snapshot -c first a.qcow2
echo "exit $?"
qemu-io -c 'write -P 3 512k 1M' -c 'discard 3M 64k' a.qcow2 >/dev/null
qemu-img snapshot -c second a.qcow2
qemu-img snapshot -c first a.qcow2
qemu-img snapshot -c '' a.qcow2
qemu-img snapshot -l a.qcow2 | sed 's/20[0-9][0-9]-[0-9-]* [0-9:]*/DATE/'
qemu-img info a.qcow2 | grep -v "disk size\|file length" | sed 's/20[0-9][0-9]-[0-9-]* [0-9:]*/DATE/'
qemu-img check a.qcow2
qemu-img map --output=json a.qcow2
