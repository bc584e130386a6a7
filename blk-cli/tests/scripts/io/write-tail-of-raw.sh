truncate -s 1025 t.raw
qemu-io -f raw -c length -c 'read -v 1020 20' -c 'read -P 0 1024 512' -c map -c 'alloc 0 4k' -c 'alloc 1024 512' -c 'write -P 7 1025 10' -c length t.raw
stat -c %s t.raw
qemu-io -f raw -c 'read 1024 513' t.raw
echo "exit $?"
