# Key slots are added and erased; at least one is kept.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
state() { qemu-img info a.qcow2 | grep active | tr -d '\n'; echo; }
qemu-img create -q -f qcow2 $S -o $L a.qcow2 1M
qemu-io $S --image-opts "$I" -c 'write -P 1 0 64k'
T=encrypt.iter-time=10
qemu-img amend $S --image-opts "$I" -o encrypt.state=active,encrypt.new-secret=n,$T; echo $?; state
qemu-io $S --image-opts "$N" -c 'read -P 1 0 64k'
qemu-img amend $S --image-opts "$I" -o encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=6,$T; echo $?; state
qemu-img amend $S --image-opts "$N" -o encrypt.state=inactive,encrypt.keyslot=0; echo $?; state
qemu-io $S --image-opts "$I" -c 'read -P 1 0 64k'
qemu-img amend $S --image-opts "$N" -o encrypt.state=inactive,encrypt.keyslot=1; echo $?; state
for options in encrypt.state=active encrypt.state=inactive encrypt.state=foo encrypt.keyslot=0 encrypt.foo=bar \
  encrypt.state=active,encrypt.new-secret=x encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=6 \
  encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=8 encrypt.state=inactive,encrypt.keyslot=6 \
  encrypt.state=inactive,encrypt.old-secret=n encrypt.state=inactive,encrypt.old-secret=s encrypt.cipher-alg=aes-128; do
  qemu-img amend $S --image-opts "$N" -o "$options" >out 2>&1; echo "$options $?"
done
state
qemu-img amend $S --image-opts "$N" -o size=2M; echo $?
qemu-io $S --image-opts "$N" -c length -c 'read -P 1 0 64k' -c 'read -P 0 1M 1M'
qemu-img check $S --image-opts "$N" | grep -v Image
qemu-img amend --force $S --image-opts "$N" -o encrypt.state=inactive,encrypt.old-secret=n; echo $?; state
qemu-io $S --image-opts "$N" -c 'read -P 1 0 64k'
rm a.qcow2 out
