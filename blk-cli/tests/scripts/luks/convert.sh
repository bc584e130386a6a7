# Into an encrypted image and out of it.
S='--object secret,id=s,data=abc'
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -f qcow2 a.qcow2 -c 'write -P 1 64k 100k' -c 'write -P 2 900k 3k'
qemu-img convert -f qcow2 -O luks $S -o key-secret=s,iter-time=10 a.qcow2 a.luks; echo $?
qemu-img compare $S --image-opts driver=qcow2,file.filename=a.qcow2 "$I"; echo $?
qemu-img convert $S --image-opts -O raw "$I" b.raw; echo $?
qemu-img compare -f qcow2 -F raw a.qcow2 b.raw; echo $?
qemu-io $S --image-opts "$I" -c 'write -P 9 0 1M'
qemu-img convert $S -n -f qcow2 --target-image-opts a.qcow2 "$I"; echo $?
qemu-img compare $S --image-opts driver=qcow2,file.filename=a.qcow2 "$I"; echo $?
qemu-img convert -f qcow2 -O luks a.qcow2 c.luks; echo $?
qemu-img convert -f qcow2 -O luks $S -o key-secret=t a.qcow2 c.luks; echo $?
qemu-img convert -c -f qcow2 -O luks $S -o key-secret=s,iter-time=10 a.qcow2 c.luks; echo $?
rm -f a.luks c.luks
