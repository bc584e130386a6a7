# Zeroes with and without unmap, in parts of clusters and in whole ones.
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 0 512k' -c 'write -z 4k 4k' -c 'write -z -u 12k 4k' -c 'write -z 64k 64k' \
    -c 'write -z -u 128k 64k' -c 'write -z -u 200k 200k' -c 'write -z 1000k 24k' a.qcow2
qemu-img map --output=json a.qcow2
qemu-io -c 'read -P 1 0 4k' -c 'read -P 0 4k 4k' -c 'read -P 1 8k 4k' -c 'read -P 0 12k 4k' \
    -c 'read -P 1 16k 48k' -c 'read -P 0 64k 128k' -c 'read -P 1 192k 8k' -c 'read -P 0 200k 200k' a.qcow2
qemu-io -c 'write -P 2 5k 1k' -c 'write -P 3 66k 1k' -c 'write -P 4 129k 1k' a.qcow2
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
