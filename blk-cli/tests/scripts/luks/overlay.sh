# An overlay over an encrypted disk.
S='--object secret,id=s,data=abc'
B='json:{"driver":"luks","key-secret":"s","file":{"driver":"file","filename":"a.luks"}}'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 256k
qemu-io $S "$B" -c 'write -P 1 0 256k'
qemu-img create -q -f qcow2 $S -b "$B" -F luks b.qcow2; echo $?
qemu-io $S b.qcow2 -c 'read -P 1 0 256k' -c 'write -P 2 4k 4k' -c 'read -P 2 4k 4k' -c 'read -P 1 0 4k'
qemu-io b.qcow2 -c 'read 0 512'; echo $?
qemu-io $S "$B" -c 'read -P 1 0 256k'
rm a.luks b.qcow2
