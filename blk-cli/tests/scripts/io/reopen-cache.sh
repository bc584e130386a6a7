. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'reopen -c writeback' -c 'write 0 512' -c 'reopen -c none' -c 'reopen -c unsafe' -c 'write 512 512' -c 'reopen -c foo' -c 'reopen -c none -c none' -c length t.qcow2
