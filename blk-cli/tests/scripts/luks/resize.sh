# The file is as long as header and disk.
S='--object secret,id=s,data=abc'
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 64k
qemu-io $S --image-opts "$I" -c 'write -P 1 0 64k'
for size in 128k 192k +64k; do
  qemu-img resize $S --image-opts "$I" $size; echo $?; stat -c %s a.luks
done
qemu-img resize $S --image-opts "$I" 32k; echo $?; stat -c %s a.luks
qemu-img resize --shrink $S --image-opts "$I" 32k; echo $?; stat -c %s a.luks
qemu-img resize --preallocation=full $S --image-opts "$I" 64k; echo $?; stat -c %s a.luks
qemu-img resize --preallocation=metadata $S --image-opts "$I" 128k; echo $?; stat -c %s a.luks
qemu-io $S --image-opts "$I" -c 'read -P 1 0 32k' -c length
rm a.luks
