# The header of the encryption is counted.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in $A $L encryption=on encrypt.format=luks $L,encrypt.cipher-alg=serpent-128,cluster_size=512 $L,preallocation=full; do
  qemu-img measure -O qcow2 --size 8M $S -o $options; echo "$options $?"
done
qemu-img create -q -f qcow2 $S -o $L a.qcow2 1M
qemu-io $S --image-opts "$I" -c 'write -P 1 64k 100k'
qemu-img measure -O qcow2 $S --image-opts "$I"; echo $?
qemu-img measure -O raw --output=json $S --image-opts "$I"; echo $?
rm a.qcow2
