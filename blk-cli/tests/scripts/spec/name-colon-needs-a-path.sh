# A colon before any slash ends a protocol's name.
qemu-img create -q -f raw file:a:b.raw 64k
qemu-io -f raw -c 'length' a:b.raw
echo "exit $?"
qemu-io -f raw -c 'length' ./a:b.raw
echo "exit $?"
qemu-io -f raw -c 'length' file:a:b.raw
echo "exit $?"
