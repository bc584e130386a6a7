# An encrypted image is exported with its key.
. "${0%/*}/server"
S='--object secret,id=s,data=abc'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
qemu-img create -q -f qcow2 $S -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 a.qcow2 1M
start $S --image-opts "$I"
qemu-io -f raw "$uri" -c 'write -P 1 0 100k' -c 'write -P 2 1000 3000' -c 'read -P 1 4000 90000'; echo $?
stop
qemu-io $S --image-opts "$I" -c 'read -P 1 0 1000' -c 'read -P 2 1000 3000'; echo $?
rm a.qcow2
