# Every write of guest data fails; comments and names of sections are allowed.
qemu-img create -q -f raw a.raw 1M
printf '# full\n\n[inject-error "one"]\n  event = "write_aio"\n  errno = "28"\n[inject-error]\nevent = "flush_to_disk"\nerrno = "0"\n' > rules
qemu-io -f raw -c 'write 0 64k' -c 'write 64k 64k' -c 'length' blkdebug:rules:a.raw
echo "exit $?"
