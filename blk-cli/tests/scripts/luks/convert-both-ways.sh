# Copies of encrypted images, into them, and between them.
. "${0%/*}/../prelude"
s='--object secret,id=s,data=pw'
of() { echo "driver=luks,key-secret=s,file.driver=file,file.filename=$1"; }
qemu-img create -q -f raw raw 1M
fill raw raw
img convert $s -f raw -O luks -o key-secret=s,iter-time=10 raw a
img compare $s --image-opts "$(of a)" driver=raw,file.filename=raw
img convert $s --image-opts -O qcow2 "$(of a)" b
img compare -F raw b raw
img convert $s --image-opts -O luks -o key-secret=s,iter-time=10 "$(of a)" c
img compare $s --image-opts "$(of a)" "$(of c)"
img convert $s -n --target-image-opts b "$(of c)"
img convert $s -n --target-is-zero -S 0 --target-image-opts b "$(of c)"
img convert $s -c -f raw -O luks -o key-secret=s raw d
img convert -f raw -O luks raw d
img convert $s --image-opts -f luks -O raw a d
img dd $s --image-opts bs=64k count=5 skip=1 if="$(of a)" of=d
rm -f a c
