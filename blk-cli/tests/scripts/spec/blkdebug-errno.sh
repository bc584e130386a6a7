# The error number is what the program reports; 0 is no error.
qemu-img create -q -f raw a.raw 1M
D=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw
for errno in 0 1 5 22 28 95; do
  qemu-io --image-opts -c 'read 0 512' $D,file.inject-error.0.event=read_aio,file.inject-error.0.errno=$errno,file.inject-error.0.immediately=on,file.inject-error.0.once=on
  echo "exit $?"
done
