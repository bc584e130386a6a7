. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'write 0 512' -c flush -c f -c 'flush 1' t.qcow2
io -r -c flush t.qcow2
