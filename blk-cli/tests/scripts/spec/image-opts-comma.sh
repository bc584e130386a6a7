# A comma inside a value is doubled.
qemu-img create -q -f raw 'a,b.raw' 64k
qemu-io --image-opts -c 'length' driver=raw,file.filename=a,,b.raw
echo "exit $?"
qemu-io --image-opts -c 'length' driver=raw,file.filename=a,b.raw 2>/dev/null
echo "exit $?"
