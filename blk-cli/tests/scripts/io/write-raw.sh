qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'write -P 1 0 4k' -c 'write -P 2 1000 10' -c 'read -v 996 18' -c 'write -P 3 1023k 1k' -c map t.raw
