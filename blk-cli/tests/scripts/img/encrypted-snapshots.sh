# Snapshots are encrypted like the disk.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in $L $A,cluster_size=512; do
  qemu-img create -q -f qcow2 $S -o $options a.qcow2 1M
  qemu-io $S --image-opts "$I" -c 'write -P 1 0 200k'
  qemu-img snapshot $S -c one --image-opts "$I"; echo $?
  qemu-io $S --image-opts "$I" -c 'write -P 2 1000 3000' -c 'write -P 3 100k 300k' -c 'read -P 1 0 1000' -c 'read -P 1 4000 90000'
  qemu-img convert $S --image-opts -l one -O raw "$I" b.raw; echo $?
  qemu-io -f raw b.raw -c 'read -P 1 0 200k' -c 'read -P 0 200k 824k'
  qemu-img snapshot $S -a one --image-opts "$I"; echo $?
  qemu-io $S --image-opts "$I" -c 'read -P 1 0 200k' -c 'read -P 0 200k 824k'
  qemu-img snapshot $S -d one --image-opts "$I"; echo $?
  qemu-img check $S --image-opts "$I" | grep -v -e Image -e fragmented
  rm a.qcow2 b.raw
done
