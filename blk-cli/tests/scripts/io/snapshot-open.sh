. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'open -s t.qcow2' -c 'write -P 2 0 512' -c 'read -P 2 0 512' -c info -c close -c 'open t.qcow2' -c 'read -P 0 0 512'
io --snapshot -r -c 'write 0 512' -c 'read 0 512' t.qcow2
