# What is wrong with the header's clusters is found and repaired.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
qemu-img create -q -f qcow2 $S -o $L a.qcow2 1M
qemu-io $S --image-opts "$I" -c 'write -P 1 0 64k'
# The count of the first cluster of the header, in the first refcount block.
printf '\0\0' | dd of=a.qcow2 bs=1 seek=131080 conv=notrunc 2>/dev/null
printf '\0\7' | dd of=a.qcow2 bs=1 seek=131084 conv=notrunc 2>/dev/null
qemu-img check $S --image-opts "$I"; echo $?
qemu-img check -r all $S --image-opts "$I"; echo $?
qemu-io $S --image-opts "$I" -c 'read -P 1 0 64k' -c 'write -P 2 64k 64k' -c 'read -P 2 64k 64k'
qemu-img check $S --image-opts "$I"; echo $?
rm a.qcow2
