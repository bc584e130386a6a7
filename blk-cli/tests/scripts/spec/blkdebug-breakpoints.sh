# Break points: set, removed, resumed, and names that do not exist.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'break read_aio A' -c 'remove_break A' -c 'write 0 64k' -c 'read 0 512' blkdebug::a.qcow2
echo "exit $?"
qemu-io -c 'break nonsense A' -c 'resume A' -c 'remove_break A' -c 'length' blkdebug::a.qcow2
echo "exit $?"
qemu-io -c 'break read_aio A' -c 'remove_break A' -c 'resume A' a.qcow2
echo "exit $?"
qemu-io -c 'break read_aio A' -c 'aio_read 0 64k' -c 'wait_break A' -c 'resume A' -c 'aio_flush' blkdebug::a.qcow2
echo "exit $?"
