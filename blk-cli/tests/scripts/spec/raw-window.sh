# A raw disk in a window of a file.
qemu-img create -q -f raw a.raw 64k
qemu-io -f raw -c 'write -P 1 0 512' -c 'write -P 2 512 512' -c 'write -P 3 1k 1k' a.raw
qemu-io --image-opts -c 'length' -c 'read -P 2 0 512' -c 'read 0 1k' driver=raw,offset=512,size=512,file.filename=a.raw
echo "exit $?"
qemu-io --image-opts -c 'length' -c 'write -P 7 0 512' driver=raw,offset=1k,file.filename=a.raw
echo "exit $?"
qemu-io -f raw -c 'read -P 7 1k 512' -c 'read -P 3 1536 512' a.raw
qemu-io --image-opts -c 'length' driver=raw,offset=2M,file.filename=a.raw
echo "exit $?"
qemu-io --image-opts -c 'length' driver=raw,size=2M,file.filename=a.raw
echo "exit $?"
