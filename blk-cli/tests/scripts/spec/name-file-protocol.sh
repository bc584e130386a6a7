# A file's name with the protocol file:, and as a path.
qemu-img create -q -f raw a.raw 64k
qemu-io -f raw -c 'length' -c 'read -P 0 0 512' file:a.raw
qemu-io -f raw -c 'length' ./a.raw
