. "${0%/*}/../prelude"
qemu-img create -q -f raw t.raw 1M
io -f raw -c 'read -b 0 512' -c 'write -b 0 512' -c 'read -b 3 512' -c 'read -b 0 5' -c 'write -b 512 5' t.raw
