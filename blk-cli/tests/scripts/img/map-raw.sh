# Where the data of a raw image lies.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write 0 128k' -c 'write 512k 64k' a.raw >/dev/null
qemu-img map -f raw a.raw
qemu-img map --output=json -f raw a.raw
