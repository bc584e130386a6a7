. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read -q 0 512' -c 'read -qv 0 16' -c 'read -qC 0 512' -c 'read -q -P 1 0 512' t.qcow2
