# Rules that are wrong.
qemu-img create -q -f raw a.raw 1M
try() { printf "$1" > rules; qemu-io -f raw -c 'read 0 512' blkdebug:rules:a.raw; echo "exit $?"; }
try '[nonsense]\nevent = "read_aio"\n'
try '[inject-error]\nevent = "nonsense"\n'
try '[inject-error]\nerrno = "5"\n'
try '[inject-error]\nevent = "read_aio"\nfoo = "bar"\n'
try '[inject-error]\nevent = read_aio\n'
try '[inject-error]\nevent = "read_aio"\nerrno = "EIO"\n'
qemu-io -f raw -c 'read 0 512' blkdebug:none:a.raw
echo "exit $?"
qemu-io -f raw -c 'read 0 512' blkdebug:a.raw
echo "exit $?"
D=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
qemu-io --image-opts -c 'read 0 512' $D,file.inject-error.1.event=read_aio
echo "exit $?"
qemu-io --image-opts -c 'read 0 512' $D,file.inject-error.0.event=read_aio,file.inject-error.0.iotype=nonsense
echo "exit $?"
