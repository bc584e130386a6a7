# The tables of qcow2 cannot be read.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 64k' a.qcow2
D=driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.qcow2
for event in reftable_load l2_load; do
  qemu-io --image-opts -c 'read 0 64k' $D,file.inject-error.0.event=$event,file.inject-error.0.once=on
  echo "exit $?"
done
