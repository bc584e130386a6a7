qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' -c 'truncate 64k' -c length -c 'truncate 128k' -c length -c 'read -P 1 0 64k' -c 'read -P 0 64k 64k' -c 'truncate 0' -c length t.raw
stat -c %s t.raw
