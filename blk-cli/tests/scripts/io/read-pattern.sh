. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 0xab 0 1k' t.qcow2
io -c 'read -P 0xab 0 1k' -c 'read -P 171 0 1k' -c 'read -P 0253 0 1k' -c 'read -P0xab 0 1k' t.qcow2
io -c 'read -P 1 0 1k' t.qcow2
io -c 'read -P 0xab 512 1k' -c 'read 0 512' t.qcow2
