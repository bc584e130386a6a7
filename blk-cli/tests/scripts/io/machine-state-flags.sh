# What goes together with -b.
qemu-img create -q -f qcow2 a.qcow2 1M
printf 'abc' >source
for command in 'write -b 0 512' 'write -bz 0 64k' 'write -bc 0 64k' 'write -bf 0 64k' 'write -bu 0 4k' \
    'write -bzu 0 4k' 'write -b -s source 0 512' 'write -b -s missing 0 512' 'writev -b 0 512' 'readv -b 0 512' \
    'aio_read -b 0 512' 'aio_write -b 0 512' 'discard -b 0 512' 'map -b' 'read -b 3 512' 'read -b 0 3' \
    'write -b 3 5' 'write -b 0 3G' 'read -bq 0 512' 'read -bP0 1M 512' 'read -bp 0 512' 'write -bq 0 512' \
    'read -b -P 97 -l 1 -s 2 0 512' 'read -bv 0 512' 'write -b -P 5 64k 1M' 'read -b -P 5 64k 1M' \
    'read -b -P 0 2M 0' 'write -b 0 0' 'read -b -1 512' 'write -b'; do
    echo "== $command"
    qemu-io -c "$command" a.qcow2 >output 2>errors
    echo "exit $?"
    grep -v -e ops -e len output; sed 's/ -- .*//' errors
done
qemu-io -r -c 'write -b 0 512' a.qcow2; echo "exit $?"
rm output errors
