# --image-opts and -f exclude each other.
qemu-img create -q -f raw a.raw 64k
qemu-io --image-opts -f raw -c 'length' driver=raw,file.filename=a.raw
echo "exit $?"
