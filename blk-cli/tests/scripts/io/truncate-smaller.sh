# The disk ends earlier, with the image open.
qemu-img create -q -f qcow2 a.qcow2 2M
qemu-io -c 'write -P 1 0 2M' -c 'truncate 1M' -c length -c 'read 1M 512' -c map \
    -c 'write -P 2 0 64k' -c 'truncate 2M' -c 'read -P 0 1M 1M' -c map -c 'write -P 3 1M 64k' \
    -c 'truncate 64k' -c length -c 'truncate 0' -c length -c map -c 'truncate 512' -c length \
    -c 'truncate 100' -c 'truncate -m full 0' -c length a.qcow2 | grep -v ops
qemu-img check a.qcow2 | sed '/Image end/d'
