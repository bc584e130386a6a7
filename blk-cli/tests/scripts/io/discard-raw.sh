qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' -c 'discard 64k 64k' -c 'read -P 0 64k 64k' -c 'read -P 1 0 64k' -c 'read -P 1 128k 64k' -c map t.raw
