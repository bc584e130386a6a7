# Rules stay active until an event with rules comes.
qemu-img create -q -f raw a.raw 1M
D=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
qemu-io --image-opts -c 'write 0 512' -c 'read 0 512' -c 'write 0 512' $D,file.inject-error.0.event=read_aio
echo "exit $?"
qemu-io --image-opts -c 'read 0 512' -c 'write 0 512' -c 'read 0 512' $D,file.inject-error.0.event=read_aio,file.inject-error.1.event=write_aio,file.inject-error.1.errno=28
echo "exit $?"
