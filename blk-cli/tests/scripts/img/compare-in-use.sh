# -U looks at images that others write.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
cp a b
start -f qcow2 a
img compare a b 2>/dev/null
img compare b a 2>/dev/null
img compare -U a b
img map -U --output=json a
img info a 2>/dev/null
qemu-img info -U a | grep virtual
img check a 2>/dev/null
qemu-img check -U a | head -n 1
img measure a 2>/dev/null
img measure -U -O raw a
img snapshot -l a 2>/dev/null
img snapshot -U -l a
img dd if=a of=c 2>/dev/null
img dd -U if=a of=c
img convert a d 2>/dev/null
img convert -U a d
stop
