# Compressed clusters beside subclusters: a part that is written makes the cluster a plain one.
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -c -P 1 0 64k' -c 'write -c -P 2 128k 128k' -c 'write -P 3 70k 3k' a.qcow2
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
qemu-io -c 'write -P 4 10k 1k' -c 'write -z 140k 8k' -c 'write -z 192k 64k' a.qcow2
qemu-img map --output=json a.qcow2
qemu-io -c 'read -P 1 0 10k' -c 'read -P 4 10k 1k' -c 'read -P 1 11k 53k' -c 'read -P 2 128k 12k' \
    -c 'read -P 0 140k 8k' -c 'read -P 2 148k 44k' -c 'read -P 0 192k 64k' a.qcow2
qemu-img check a.qcow2
