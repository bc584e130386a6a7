. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'reopen -r -w' -c 'reopen -rr' -c 'reopen -x' -c 'reopen t.qcow2' -c 'reopen -o foo=bar' -c 'reopen -r -o read-only=on' -c 'reopen -c none -o cache.direct=on' -c 'write 0 512' t.qcow2
