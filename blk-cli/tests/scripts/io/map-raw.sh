qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c map -c 'write 512k 64k' -c map t.raw
