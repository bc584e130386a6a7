# Options of compare, and its exit codes.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
qemu-img create -q -f raw b 1M
for words in 'a b' '-f qcow2 -F raw a b' '-f raw a b' '-F qcow2 a b' 'a none' 'none a' '-f some a b' '-T none a b' '-T some a b' \
    a 'a b a' '' '-q a none' '-U a b' '-p -q a b' '--image-opts a b' \
    '--image-opts driver=qcow2,file.filename=a driver=raw,file.filename=b' '--object foo,id=x a b' \
    '--object secret,id=x a b' '--object secret,id=x,data=y a b'; do
    echo "== $words"
    img compare $words
done
