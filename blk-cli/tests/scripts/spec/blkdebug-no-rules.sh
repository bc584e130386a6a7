# blkdebug::FILE is the file.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 64k' -c 'read -P 1 0 64k' blkdebug::a.qcow2
echo "exit $?"
qemu-io -f raw -c 'read 0 512' blkdebug::a.qcow2
qemu-io -f blkdebug -c 'read 0 512' blkdebug::a.qcow2
echo "exit $?"
