qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -s -c 'write -P 2 0 512' -c 'read -P 2 0 512' -c map -c 'truncate 2M' -c length t.raw
qemu-io -f raw -c 'read -P 0 0 1M' -c length t.raw
