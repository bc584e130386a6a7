# The key is named in a json: name too, and belongs to no image without encryption.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
qemu-img create -q -f qcow2 $S -o $L a.qcow2 1M
J='json:{"driver":"qcow2","encrypt":{"format":"luks","key-secret":"s"},"file":{"driver":"file","filename":"a.qcow2"}}'
qemu-io $S "$J" -c 'write -P 1 0 64k' -c 'read -P 1 0 64k'; echo $?
qemu-io $S 'json:{"driver":"qcow2","encrypt.key-secret":"s","file.filename":"a.qcow2"}' -c 'read -P 1 0 64k'; echo $?
qemu-img create -q -f qcow2 c.qcow2 1M
qemu-io $S --image-opts driver=qcow2,file.filename=c.qcow2,encrypt.format=luks,encrypt.key-secret=s -c 'read 0 512'; echo $?
rm a.qcow2 c.qcow2
