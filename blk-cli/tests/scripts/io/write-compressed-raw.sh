. "${0%/*}/../prelude"
qemu-img create -q -f raw t.raw 1M
io -f raw -c 'write -c 0 512' t.raw
