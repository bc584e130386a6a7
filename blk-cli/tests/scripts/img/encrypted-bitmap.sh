# Bitmaps of an encrypted image: it is opened with its key, and each action is done.
secret="--object secret,id=s,data=abc"
for method in aes luks; do
    slow=; [ $method = luks ] && slow=,encrypt.iter-time=10
    qemu-img create -q -f qcow2 $secret -o encrypt.format=$method,encrypt.key-secret=s$slow a.qcow2 1M
    image=driver=qcow2,encrypt.key-secret=s,file.filename=a.qcow2
    qemu-img bitmap $secret --image-opts --add -g 4k $image b; echo $?
    qemu-io $secret --image-opts -c 'write -P 1 8k 4k' $image | grep -v ops
    qemu-img bitmap $secret --image-opts --add --disable -g 64k $image still; echo $?
    qemu-img bitmap $secret --image-opts --merge b $image still; echo $?
    qemu-img bitmap $secret --image-opts --disable $image b; echo $?
    qemu-img bitmap $secret -f qcow2 --add \
        'json:{"driver": "qcow2", "encrypt.key-secret": "s", "file.filename": "a.qcow2"}' third; echo $?
    qemu-img info a.qcow2 | grep -A 16 bitmaps: | grep -v refcount
    qemu-img bitmap -f qcow2 --add a.qcow2 fourth 2>/dev/null; echo $?
    rm a.qcow2
done
