# Keys that are missing, misplaced or unknown.
qemu-img create -q -f raw a.raw 64k
qemu-io --image-opts -c 'length' a.raw 2>/dev/null
echo "exit $?"
qemu-io --image-opts -c 'length' filename=a.raw
echo "exit $?"
qemu-io --image-opts -c 'length' driver=raw,filename=a.raw
echo "exit $?"
qemu-io --image-opts -c 'length' driver=raw,file=a.raw
echo "exit $?"
qemu-io --image-opts -c 'length' driver=nonsense,file.filename=a.raw
echo "exit $?"
qemu-io --image-opts -c 'length' driver=raw,file.filename=a.raw,colour=red
echo "exit $?"
