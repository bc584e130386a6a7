# Parts of blkverify:RAW:TEST that are missing.
qemu-img create -q -f raw a.raw 1M
qemu-io -c 'length' blkverify:
echo "exit $?"
qemu-io -c 'length' blkverify:a.raw
echo "exit $?"
qemu-io -f raw -c 'length' blkverify:a.raw:none.qcow2
echo "exit $?"
qemu-io --image-opts -c 'length' driver=blkverify,raw.driver=file,raw.filename=a.raw
echo "exit $?"
