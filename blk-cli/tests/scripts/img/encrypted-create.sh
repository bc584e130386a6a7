# What an image can be made with; what the header then says.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in $L $A encryption=on,encrypt.key-secret=s $A,compat=0.10 $L,cluster_size=512 $L,extended_l2=on \
  $L,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.cipher-alg=serpent-128 \
  $L,encrypt.cipher-alg=twofish-192,encrypt.hash-alg=sha512,encrypt.ivgen-alg=plain; do
  qemu-img create -f qcow2 $S -o $options a.qcow2 1M; echo $?
  dd if=a.qcow2 bs=1 skip=32 count=4 2>/dev/null | od -An -tx1
  qemu-img info a.qcow2 | grep -v -e uuid -e iters -e 'disk size' -e 'file length'
  rm a.qcow2
done
