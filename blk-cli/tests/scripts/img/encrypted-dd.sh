# Copied by dd, compared, and told apart.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
qemu-img create -q -f qcow2 $S -o $L a.qcow2 1M
qemu-io $S --image-opts "$I" -c 'write -P 1 0 100k'
qemu-img dd $S --image-opts -O raw bs=64k count=2 if="$I" of=b.raw; echo $?
qemu-io -f raw b.raw -c 'read -P 1 0 100k' -c 'read -P 0 100k 28k'
qemu-img create -q -f raw c.raw 1M; qemu-io -f raw c.raw -c 'write -P 1 0 100k'
qemu-img compare $S --image-opts "$I" driver=raw,file.filename=c.raw; echo $?
qemu-io -f raw c.raw -c 'write -P 9 99k 1'
qemu-img compare $S --image-opts "$I" driver=raw,file.filename=c.raw; echo $?
rm a.qcow2 b.raw c.raw
