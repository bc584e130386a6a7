# What an overlay holds goes into its backing file, subcluster by subcluster.
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-io -c 'write -P 9 0 512k' base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -o extended_l2=on -b base.qcow2 -F qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 3k 6k' -c 'write -z 100k 10k' -c 'write -P 2 600k 5k' a.qcow2 >/dev/null
qemu-img commit a.qcow2
qemu-img check a.qcow2
qemu-img map --output=json a.qcow2
qemu-io -c 'read -P 9 0 2k' -c 'read -P 1 3k 6k' -c 'read -P 9 9k 91k' -c 'read -P 0 100k 10k' \
    -c 'read -P 9 110k 402k' -c 'read -P 2 600k 5k' base.qcow2
