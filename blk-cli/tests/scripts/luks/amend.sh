# Key slots are added and erased; at least one is kept.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
N='driver=luks,key-secret=n,file.driver=file,file.filename=a.luks'
state() { qemu-img info a.luks | grep active | tr -d '\n'; echo; }
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 64k
qemu-io $S --image-opts "$I" -c 'write -P 1 0 64k'
qemu-img amend $S --image-opts "$I" -o state=active,new-secret=n,iter-time=10; echo $?; state
qemu-io $S --image-opts "$N" -c 'read -P 1 0 64k'
qemu-img amend $S --image-opts "$I" -o state=active,new-secret=n,keyslot=6,iter-time=10; echo $?; state
qemu-img amend $S --image-opts "$N" -o state=inactive,keyslot=0; echo $?; state
qemu-io $S --image-opts "$I" -c 'read -P 1 0 64k'
qemu-img amend $S --image-opts "$N" -o state=inactive,keyslot=1; echo $?; state
qemu-img amend $S --image-opts "$N" -o state=inactive,keyslot=6; echo $?; state
qemu-img amend $S --image-opts "$N" -o state=inactive,old-secret=n; echo $?; state
qemu-io $S --image-opts "$N" -c 'read -P 1 0 64k'
qemu-img amend --force $S --image-opts "$N" -o state=inactive,old-secret=n; echo $?; state
qemu-io $S --image-opts "$N" -c 'read -P 1 0 64k'
rm a.luks
