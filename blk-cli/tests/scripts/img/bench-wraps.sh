# Behind the end it begins anew.
qemu-img create -q a.raw 1M
qemu-img bench -f raw -c 1000 -w --pattern 3 -s 4k a.raw | sed 's/completed in .*/completed/'
qemu-io -f raw -c 'read -P 3 0 1M' a.raw | grep -v ops
