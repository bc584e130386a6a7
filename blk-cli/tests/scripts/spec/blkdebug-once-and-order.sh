# Of several rules the first counts, until it is used up.
qemu-img create -q -f raw a.raw 1M
printf '[inject-error]\nevent = "read_aio"\nerrno = "5"\nonce = "on"\n[inject-error]\nevent = "read_aio"\nerrno = "28"\nonce = "on"\n' > rules
qemu-io -f raw -c 'read 0 512' -c 'read 0 512' -c 'read 0 512' blkdebug:rules:a.raw
echo "exit $?"
