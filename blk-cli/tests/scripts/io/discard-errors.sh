. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c discard -c 'discard 0' -c 'discard 0 1 2' -c 'discard -v 0 1' -c 'discard 2M 512' -c 'discard 0 2M' -c 'discard 0 3G' -c 'discard 2M 0' -c 'discard 0 -1' t.qcow2
