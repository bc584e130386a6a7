. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'break nosuch a' -c 'remove_break zz' -c 'resume zz' blkdebug::t.qcow2
io -c 'break write_aio a' -c 'remove_break a' -c 'resume a' t.qcow2
