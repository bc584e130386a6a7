# A disk grows, and what it gains is zeroes.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in $L $A; do
  qemu-img create -q -f qcow2 $S -o $options a.qcow2 100k
  qemu-io $S --image-opts "$I" -c 'write -P 1 0 100k'
  qemu-img resize $S --image-opts "$I" 1M; echo $?
  qemu-io $S --image-opts "$I" -c 'read -P 1 0 100k' -c 'read -P 0 100k 924k' -c length
  qemu-img check $S --image-opts "$I"; echo $?
  rm a.qcow2
done
