. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'write -P 1 0 64k' -c 'reopen -o discard=ignore' -c 'reopen -o l2-cache-size=64k' -c 'read -P 1 0 64k' t.qcow2
