# Overlay and backing file have keys of their own.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
B='json:{"driver":"qcow2","encrypt":{"format":"luks","key-secret":"n"},"file":{"driver":"file","filename":"b.qcow2"}}'
qemu-img create -q -f qcow2 $S -o encrypt.format=luks,encrypt.key-secret=n,encrypt.iter-time=10 b.qcow2 1M
qemu-io $S "$B" -c 'write -P 1 0 1M'
qemu-img create -q -f qcow2 $S -o $L -b "$B" -F qcow2 a.qcow2; echo $?
qemu-io $S --image-opts "$I" -c 'read -P 1 0 1M' -c 'write -P 2 1000 3000' -c 'read -P 1 0 1000' -c 'read -P 1 4000 60000'
qemu-img rebase $S -u -b b.qcow2 -F qcow2 --image-opts "$I"; echo $?
qemu-io $S --image-opts "$I" -c 'read -P 1 0 1000'; echo $?
qemu-io $S --image-opts "$I,backing.driver=qcow2,backing.file.filename=b.qcow2,backing.encrypt.key-secret=n" \
  -c 'read -P 1 0 1000' -c 'read -P 2 1000 3000' -c 'write -P 3 100000 1' -c 'read -P 1 100001 30000'; echo $?
qemu-img rebase $S -u -b "$B" -F qcow2 --image-opts "$I"; echo $?
qemu-img commit $S --image-opts "$I"; echo $?
qemu-io $S "$B" -c 'read -P 1 0 1000' -c 'read -P 2 1000 3000' -c 'read -P 3 100000 1'; echo $?
rm a.qcow2 b.qcow2
