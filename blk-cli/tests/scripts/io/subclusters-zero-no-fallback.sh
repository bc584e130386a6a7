# Zeroes that must not be written as data.
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 0 100k' -c 'write -c -P 2 128k 64k' a.qcow2 >/dev/null
qemu-io -c 'write -z -n 2k 2k' -c 'write -z -n 5k 1k' -c 'write -z -n 300k 1k' -c 'write -z -n 130k 2k' \
    -c 'write -z -n 128k 64k' a.qcow2
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
