# Without the key, or with a wrong one, nothing is shown and nothing is written.
S='--object secret,id=s,data=abc'
I='driver=luks,file.driver=file,file.filename=a.luks'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 64k
cp a.luks b.luks
qemu-io --image-opts "$I" -c 'read 0 512'; echo $?
qemu-io -f luks a.luks -c 'read 0 512'; echo $?
qemu-io a.luks -c 'read 0 512'; echo $?
qemu-io --object secret,id=s,data=abd --image-opts "$I,key-secret=s" -c 'write 0 512'; echo $?
qemu-io --image-opts "$I,key-secret=s" -c 'write 0 512'; echo $?
qemu-io $S --image-opts "$I,key-secret=other" -c 'write 0 512'; echo $?
qemu-img convert a.luks c.raw; echo $?
qemu-img compare a.luks b.luks; echo $?
qemu-img resize a.luks 128k; echo $?
qemu-img map a.luks; echo $?
cmp a.luks b.luks; echo $?
qemu-img info a.luks | grep -v -e uuid -e iters -e 'disk size'
rm -f a.luks b.luks
