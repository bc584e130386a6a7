# Zeroes that were written as data are left out.
qemu-img create -q a.raw 4M
qemu-io -f raw -c 'write -P 0 0 4M' -c 'write -P 1 1M 64k' -c 'write -P 2 3000k 512' a.raw >/dev/null
qemu-img convert -f raw -O qcow2 a.raw b.qcow2
qemu-img map --output=json b.qcow2
