. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read -C 0 1k' -c 'read -Cv 0 4' -c 'readv -C 0 5 5' -c 'write -C 0 64k' -c 'writev -C 0 1 2 3' -c 'discard -C 0 64k' t.qcow2
