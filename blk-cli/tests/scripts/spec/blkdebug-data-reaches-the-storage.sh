# The events that every write has, whatever the driver.
qemu-img create -q -f raw a.raw 1M
D=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
for event in pwritev pwritev_zero; do
  echo "$event"
  qemu-io --image-opts -c 'write 0 512' -c 'write -z 0 64k' -c 'write 0 512' $D,file.inject-error.0.event=$event,file.inject-error.0.once=on
  echo "exit $?"
done
