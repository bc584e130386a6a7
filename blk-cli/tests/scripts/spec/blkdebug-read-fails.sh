# The first read of guest data fails.
qemu-img create -q -f qcow2 a.qcow2 1M
printf '[inject-error]\nevent = "read_aio"\nerrno = "5"\nonce = "on"\n' > rules
qemu-io -c 'write -P 1 0 64k' -c 'read 0 64k' -c 'read -P 1 0 64k' blkdebug:rules:a.qcow2
echo "exit $?"
