. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'truncate -m full 2M' -c length -c 'read -P 0 0 2M' -c map t.qcow2
io -c 'truncate -m falloc 3M' -c length -c map t.qcow2
io -c 'truncate -m metadata 4M' -c length -c map t.qcow2
