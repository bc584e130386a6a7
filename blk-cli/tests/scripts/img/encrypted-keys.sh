# Without the key, or with a wrong one, nothing is shown and nothing is written.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
O='driver=qcow2,file.driver=file,file.filename=a.qcow2'
qemu-img create -q -f qcow2 $S -o $L a.qcow2 1M
qemu-io $S --image-opts "$I" -c 'write -P 1 0 64k'
cp a.qcow2 b.qcow2
for options in "$O" "$O,encrypt.key-secret=t" "$O,encrypt.key-secret=n" "$I,encrypt.format=aes" "$I,encrypt.format=luks"; do
  qemu-io $S --image-opts "$options" -c 'read -P 1 0 512'; echo "$options $?"
done
for command in check map 'snapshot -l' 'snapshot -c x' 'resize a.qcow2 2M' 'convert -O raw' 'commit'; do
  case $command in resize*) qemu-img $command; echo $? ;; convert*) qemu-img $command a.qcow2 c.raw; echo $? ;;
  *) qemu-img $command a.qcow2; echo $? ;; esac
done
qemu-img compare a.qcow2 b.qcow2; echo $?
cmp a.qcow2 b.qcow2; echo $?
rm -f a.qcow2 b.qcow2 c.raw
