# blkverify as node options, and as the format.
qemu-img create -q -f raw a.raw 1M
qemu-img create -q -f qcow2 b.qcow2 1M
qemu-io --image-opts -c 'write -P 1 0 64k' -c 'read -P 1 0 64k' -c 'length' driver=blkverify,raw.driver=file,raw.filename=a.raw,test.driver=qcow2,test.file.driver=file,test.file.filename=b.qcow2
echo "exit $?"
qemu-io -f blkverify -c 'read -P 1 0 64k' blkverify:a.raw:b.qcow2
echo "exit $?"
