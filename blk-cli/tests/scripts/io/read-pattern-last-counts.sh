. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read -P 1 -P 0 0 512' -c 'read -P 0 -P 1 0 512' t.qcow2
