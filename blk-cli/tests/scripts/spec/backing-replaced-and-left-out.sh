# Another backing file than the image's, and none.
qemu-img create -q -f raw base.raw 1M
qemu-img create -q -f raw other.raw 1M
qemu-io -f raw -c 'write -P 5 0 64k' base.raw
qemu-io -f raw -c 'write -P 6 0 64k' other.raw
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
qemu-io --image-opts -c 'read -P 6 0 64k' driver=qcow2,file.filename=top.qcow2,backing.driver=raw,backing.file.driver=file,backing.file.filename=other.raw
echo "exit $?"
qemu-io --image-opts -c 'read -P 0 0 64k' driver=qcow2,file.filename=top.qcow2,backing= 2>/dev/null
echo "exit $?"
qemu-io -c 'read -P 0 0 64k' 'json:{"driver":"qcow2","file.driver":"file","file.filename":"top.qcow2","backing":null}'
echo "exit $?"
qemu-io -c 'read -P 5 0 64k' top.qcow2
