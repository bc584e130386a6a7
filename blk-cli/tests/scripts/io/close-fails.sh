# What is left to write when the image is closed cannot be written: standard output hears nothing of it.
printf '[inject-error]\nevent = "l2_update"\nerrno = "5"\n' > rules
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write 0 4k' -c close -c 'read 0 4k' blkdebug:rules:t.qcow2 2>/dev/null
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write 0 4k' -c 'reopen -r' -c length blkdebug:rules:t.qcow2 2>/dev/null
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write 0 4k' blkdebug:rules:t.qcow2 2>/dev/null
echo "exit $?"
rm t.qcow2
