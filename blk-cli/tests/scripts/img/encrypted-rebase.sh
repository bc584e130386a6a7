# An encrypted overlay is rebased.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
qemu-img create -q -f qcow2 b.qcow2 1M; qemu-io -f qcow2 b.qcow2 -c 'write -P 1 0 500k'
qemu-img create -q -f qcow2 c.qcow2 1M; qemu-io -f qcow2 c.qcow2 -c 'write -P 2 200k 500k'
qemu-img create -q -f qcow2 $S -o $L -b b.qcow2 -F qcow2 a.qcow2
qemu-io $S --image-opts "$I" -c 'write -P 3 100k 200k'
qemu-img rebase $S -b "$PWD/c.qcow2" -F qcow2 --image-opts "$I"; echo $?
qemu-io $S --image-opts "$I" -c 'read -P 1 0 100k' -c 'read -P 3 100k 200k' -c 'read -P 1 300k 200k' -c 'read -P 0 500k 200k'; echo $?
qemu-img rebase $S -b '' --image-opts "$I"; echo $?
qemu-io $S --image-opts "$I" -c 'read -P 1 0 100k' -c 'read -P 3 100k 200k'; echo $?
qemu-img check $S --image-opts "$I" | grep -v -e Image -e allocated; echo $?
rm a.qcow2 b.qcow2 c.qcow2
