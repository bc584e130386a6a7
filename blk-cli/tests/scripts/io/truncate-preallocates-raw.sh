. "${0%/*}/../prelude"
qemu-img create -q -f raw t.raw 1M
io -f raw -c 'truncate -m falloc 2M' -c length -c 'truncate -m full 3M' -c length -c 'read -P 0 0 3M' -c 'truncate -m full 1M' -c 'truncate -m metadata 4M' -c length t.raw
stat -c '%s %b' t.raw
