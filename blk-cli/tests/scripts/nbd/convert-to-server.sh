# Copies to a server and from it, compared and mapped there.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
fill qcow2 a
qemu-img create -q -f qcow2 b 2M
start -f qcow2 a
for words in '-O raw' '-O qcow2' '-c -O qcow2' '-S 0 -O raw'; do
    rm -f c
    img convert $words "$uri" c
    img compare -U a c
    map c
done
img compare -U a "$uri"
map -f raw "$uri"
img measure -O qcow2 -f raw "$uri"
img dd -f raw bs=64k skip=3 if="$uri" of=d
stop
start -f qcow2 b
img convert -n -O raw a "$uri" 
stop
img compare a b
map b
