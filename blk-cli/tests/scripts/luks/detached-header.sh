# A header in a file of its own.
S='--object secret,id=s,data=abc'
H='driver=luks,key-secret=s,file.driver=file,file.filename=a.raw,header.driver=file,header.filename=a.header'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10,detached-header=on a.header; echo $?
stat -c %s a.header
qemu-img info a.header | grep -v -e uuid -e iters -e 'disk size'
qemu-img create -q -f raw a.raw 1M
qemu-io $S --image-opts "$H" -c 'write -P 1 0 1M' -c 'write -P 2 1000 3000' -c 'read -P 2 1000 3000' -c length; echo $?
qemu-io $S --image-opts "$H" -c 'read -P 1 0 1000' -c 'read -P 2 1000 3000' -c 'read -P 1 4000 60000'; echo $?
qemu-io $S --image-opts driver=luks,key-secret=s,file.driver=file,file.filename=a.raw -c 'read 0 512'; echo $?
qemu-io --object secret,id=s,data=other --image-opts "$H" -c 'read 0 512'; echo $?
qemu-img convert $S --image-opts -O raw "$H" b.raw; echo $?
qemu-io -f raw b.raw -c 'read -P 1 0 1000' -c 'read -P 2 1000 3000'
rm a.header a.raw b.raw
