# Rules stay active until an event with rules comes.
qemu-img create -q -f raw a.raw 1M
D=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
END=file.inject-error.1.event=flush_to_disk,file.inject-error.1.errno=0
qemu-io --image-opts -c 'write 0 512' -c 'read 0 512' -c 'write 0 512' $D,file.inject-error.0.event=read_aio,$END
echo "exit $?"
qemu-io --image-opts -c 'read 0 512' -c 'write 0 512' -c 'read 0 512' $D,file.inject-error.0.event=read_aio,file.inject-error.1.event=write_aio,file.inject-error.1.errno=28,file.inject-error.2.event=flush_to_disk,file.inject-error.2.errno=0
echo "exit $?"
