. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read -P x 0 5' -c 'read -P 256 0 5' -c 'read -P -1 0 5' -c 'read -P 08 0 5' -c 'read -P 1k 0 5' -c 'read -P 0x 0 5' -c 'read -P 0x100 0 5' -c 'read -P 1.0 0 5' t.qcow2
