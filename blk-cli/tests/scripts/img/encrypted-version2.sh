# An image of version 2 whose header the other program reads.
S='--object secret,id=s,data=abc'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
qemu-img create -q -f qcow2 $S -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,compat=0.10 a.qcow2 1M; echo $?
dd if=a.qcow2 bs=1 skip=72 count=8 2>/dev/null | od -An -tx1
qemu-io $S --image-opts "$I" -c 'write -P 1 0 100k' -c 'write -z 64k 64k' -c 'read -P 1 0 64k' -c 'read -P 0 64k 900k'
qemu-img check $S --image-opts "$I" | grep -v -e Image -e fragmented
rm a.qcow2
