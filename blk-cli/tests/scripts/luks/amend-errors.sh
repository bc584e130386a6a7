# What cannot be changed stays as it is.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 64k
cp a.luks b.luks
for options in state=active state=inactive state=foo keyslot=0 size=2M foo=bar cipher-alg=aes-128 state=active,new-secret=x \
  state=active,new-secret=n,keyslot=0 state=active,new-secret=n,keyslot=8 state=active,new-secret=n,old-secret=s \
  state=inactive,keyslot=4 state=inactive,keyslot=9 state=inactive,keyslot=0 state=inactive,old-secret=n \
  state=inactive,old-secret=s state=inactive,keyslot=0,new-secret=n state=inactive,keyslot=0,iter-time=10; do
  qemu-img amend $S --image-opts "$I" -o "$options" >out 2>&1; echo "$options $?"
done
qemu-img amend $S -f luks a.luks -o state=active,new-secret=n >out 2>&1; echo $?
cmp a.luks b.luks && echo same
rm -f a.luks b.luks out
