# The state lets the second write fail, and reads in turn.
qemu-img create -q -f raw a.raw 1M
printf '[set-state]\nevent = "write_aio"\nstate = "1"\nnew_state = "2"\n\n[inject-error]\nevent = "write_aio"\nstate = "2"\nerrno = "5"\n[inject-error]\nevent = "flush_to_disk"\nerrno = "0"\n' > rules
qemu-io -f raw -c 'write 0 512' -c 'write 0 512' -c 'write 0 512' blkdebug:rules:a.raw
echo "exit $?"
printf '[set-state]\nevent = "read_aio"\nstate = "1"\nnew_state = "2"\n[set-state]\nevent = "read_aio"\nstate = "2"\nnew_state = "1"\n[inject-error]\nevent = "read_aio"\nstate = "2"\nerrno = "5"\nonce = "off"\n[inject-error]\nevent = "read_aio"\nstate = "1"\nerrno = "28"\n[inject-error]\nevent = "flush_to_disk"\nerrno = "0"\n' > rules
qemu-io -f raw -c 'read 0 512' -c 'read 0 512' -c 'read 0 512' blkdebug:rules:a.raw
echo "exit $?"
