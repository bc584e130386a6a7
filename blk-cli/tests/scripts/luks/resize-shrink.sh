# An encrypted disk is cut, too.
qemu-img create -q -f luks --object secret,id=s,data=abc -o key-secret=s,iter-time=10 a.luks 1M
open='driver=luks,key-secret=s,file.filename=a.luks'
qemu-io --object secret,id=s,data=abc --image-opts -c 'write -P 1 0 1M' "$open" | grep -v ops
for size in 512k -100k; do
    qemu-img resize --object secret,id=s,data=abc --shrink --image-opts "$open" $size
    echo "exit $?"
    qemu-io --object secret,id=s,data=abc --image-opts -c length -c 'read -P 1 0 412k' "$open" | grep -v ops
done
rm a.luks
