. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c foo -c '' -c '   ' -c 'Read 0 512' -c 'rv 0 5' -c 'm' -c 'h' -c exit -c '"length"' -c 'read 0 512' t.qcow2
