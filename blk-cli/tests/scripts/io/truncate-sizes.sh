qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'truncate 1025' -c length -c 'truncate 1047553' -c length -c 'truncate 1023' -c length -c 'truncate 1000000000' -c length -c 'truncate 1048575' -c length -c 'truncate 1T' -c length -c 'truncate 1.5k' -c length t.raw
stat -c %s t.raw
