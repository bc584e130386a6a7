. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'write -P 1 0 512' -c 'reopen -r' -c 'write 0 512' -c 'read -P 1 0 512' -c 'reopen -w' -c 'write -P 2 0 512' -c reopen -c 'read -P 2 0 512' t.qcow2
io -r -c 'write 0 512' -c 'reopen -w' -c 'write -P 3 0 512' t.qcow2
