# There is nothing to check; an image inside one is.
S='--object secret,id=s,data=abc'
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 1M
qemu-img check $S --image-opts "$I"; echo $?
qemu-img snapshot -l $S --image-opts "$I"; echo $?
rm a.luks
