# All forms of overlap-check.
qemu-img create -q -f qcow2 a.qcow2 1M
for mode in none constant cached all; do
  qemu-io --image-opts -c 'write -P 1 0 4k' driver=qcow2,file.filename=a.qcow2,overlap-check=$mode
  echo "exit $?"
done
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,overlap-check.template=all,overlap-check.main-header=off
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,overlap-check=most
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,overlap-check=all,overlap-check.template=none
echo "exit $?"
