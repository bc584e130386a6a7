# A backing file for an image that names none.
qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 5 0 64k' base.raw
qemu-img create -q -f qcow2 top.qcow2 1M
qemu-io --image-opts -c 'read -P 5 0 64k' driver=qcow2,file.filename=top.qcow2,backing.driver=raw,backing.file.driver=file,backing.file.filename=base.raw
echo "exit $?"
