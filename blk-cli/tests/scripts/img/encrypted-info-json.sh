# What is told of an image in JSON.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in $L $A $L,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,compat=0.10; do
  qemu-img create -q -f qcow2 $S -o $options a.qcow2 1M
  qemu-img info --output=json a.qcow2 | grep -v -e uuid -e iters -e actual-size -e 197120 -e 262144
  rm a.qcow2
done
