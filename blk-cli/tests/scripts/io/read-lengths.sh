. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read 0 2147483136' -c 'read 0 2147483137' -c 'read 0 4G' -c 'read 0 8E' t.qcow2
io -c 'readv 0 3G' -c 'readv 0 1G 1G' -c 'readv 0 1 x' t.qcow2
