# Rules for a sector.
qemu-img create -q -f raw a.raw 1M
D=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
R=file.inject-error.0.event=read_aio,file.inject-error.0.sector=1
qemu-io --image-opts -c 'read 0 512' -c 'read 512 512' -c 'read 0 1k' -c 'read 1k 1k' $D,$R
echo "exit $?"
qemu-io --image-opts -c 'read 0 512' -c 'read 512 512' -c 'read 0 1k' $D,$R,file.inject-error.0.once=on
echo "exit $?"
