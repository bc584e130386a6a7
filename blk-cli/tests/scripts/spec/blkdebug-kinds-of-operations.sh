# Rules for a kind of operation hold from the beginning with the event none.
qemu-img create -q -f raw a.raw 1M
D=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
for kind in read write write-zeroes discard; do
  echo "$kind"
  qemu-io --image-opts -c 'read 0 512' -c 'write 0 512' -c 'discard 0 64k' -c 'write -z 0 64k' $D,file.inject-error.0.event=none,file.inject-error.0.iotype=$kind
  echo "exit $?"
done
