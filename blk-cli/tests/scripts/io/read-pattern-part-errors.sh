. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read -P 0 -s 17 0 16' -c 'read -P 0 -l 17 0 16' -c 'read -P 0 -s 8 -l 9 0 16' t.qcow2
io -c 'read -s 1 0 16' -c 'read -l 1 0 16' t.qcow2
io -c 'read -P 0 -s x 0 16' -c 'read -P 0 -l x 0 16' -c 'read -P 0 -l -1 0 16' t.qcow2
