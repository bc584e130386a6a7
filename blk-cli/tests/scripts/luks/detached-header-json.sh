# A header in a file of its own, by a json: name and over an overlay.
S='--object secret,id=s,data=abc'
H='json:{"driver":"luks","key-secret":"s","file":{"driver":"file","filename":"a.raw"},"header":{"driver":"file","filename":"a.header"}}'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10,detached-header=on a.header; echo $?
qemu-img create -q -f raw a.raw 256k
qemu-io $S "$H" -c 'write -P 1 0 256k' -c 'read -P 1 0 256k'; echo $?
qemu-img create -q -f qcow2 $S -b "$H" -F luks b.qcow2 >out 2>&1; echo $?
qemu-io $S b.qcow2 -c 'read -P 1 0 256k' -c 'write -P 2 4k 4k' -c 'read -P 1 0 4k'; echo $?
qemu-img resize $S --image-opts driver=luks,key-secret=s,file.filename=a.raw,header.filename=a.header,header.driver=file 512k; echo $?
stat -c %s a.raw a.header
rm -f a.header a.raw b.qcow2 out
