# Runs of subclusters, with where they lie.
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 4k 4k' -c 'write -P 2 20k 3k' -c 'write -z 24k 6k' -c 'write -P 3 62k 8k' \
    -c 'write -z 128k 2k' -c 'write -P 4 200k 1' -c 'write -P 5 256k 64k' -c 'write -z 260k 8k' a.qcow2
qemu-img map a.qcow2
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
