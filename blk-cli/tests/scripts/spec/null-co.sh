# Nothing, with and without a size.
qemu-io -f raw -c 'length' -c 'write -P 1 0 4k' -c 'read 0 4k' null-co://
echo "exit $?"
qemu-io --image-opts -c 'length' -c 'write -P 1 0 4k' -c 'read -P 0 0 4k' driver=null-co,size=1M,read-zeroes=on
echo "exit $?"
qemu-io --image-opts -c 'read -P 0xab 0 4k' driver=null-co,size=1M
echo "exit $?"
qemu-io --image-opts -c 'length' driver=raw,file.driver=null-co,file.size=64k
echo "exit $?"
qemu-io -c 'length' null-co://foo
echo "exit $?"
