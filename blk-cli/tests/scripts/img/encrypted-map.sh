# A map tells of data, and not where it lies.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in $L $A; do
  qemu-img create -q -f qcow2 $S -o $options a.qcow2 1M
  qemu-io $S --image-opts "$I" -c 'write -P 1 64k 64k' -c 'write -z 256k 64k' -c 'write -P 1 300k 1k'
  qemu-img map --output=json $S --image-opts "$I"; echo $?
  qemu-img map $S --image-opts "$I" 2>/dev/null; echo $?
  qemu-io $S --image-opts "$I" -c map -c 'alloc 0 128k'
  rm a.qcow2
done
