. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -r -c close -c 'open t.qcow2' -c 'write -P 3 0 512' t.qcow2
io -f raw -c length -c close -c 'open t.qcow2' -c info t.qcow2
