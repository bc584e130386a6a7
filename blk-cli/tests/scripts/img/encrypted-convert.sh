# Into an encrypted image and out of it; compression is refused.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
qemu-img create -q -f qcow2 b.qcow2 1M
qemu-io -f qcow2 b.qcow2 -c 'write -P 1 64k 100k' -c 'write -P 2 900k 3k'
for options in $L $A; do
  qemu-img convert -f qcow2 -O qcow2 $S -o $options b.qcow2 a.qcow2; echo $?
  qemu-img compare $S --image-opts driver=qcow2,file.filename=b.qcow2 "$I"; echo $?
  qemu-img convert $S --image-opts -O raw "$I" c.raw; echo $?
  qemu-img compare -f qcow2 -F raw b.qcow2 c.raw; echo $?
  qemu-img convert $S -n -f qcow2 --target-image-opts b.qcow2 "$I"; echo $?
  qemu-img convert -c -f qcow2 -O qcow2 $S -o $options b.qcow2 d.qcow2; echo $?; ls
  qemu-img map --output=json $S --image-opts "$I"
  rm a.qcow2 c.raw
done
rm b.qcow2
