# Options of snapshot that exclude each other, and images that have none.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
qemu-img create -q -f raw raw 1M
qemu-img create -q -f qcow2 zero 0
for words in '-l -c x a' '-c x -d y a' '-a x -d x a' '-c x' '-q -c n a' '-q -l a' '-U -l a' '-U -c x a' '-f raw -l a' \
    '-f raw -c x raw' '-f raw -a x raw' '-f raw -d x raw' '-f qcow2 -l raw' '-d none a' '-a none a' 'a a' none \
    '-c z zero' '-a z zero' '-d z zero' '--image-opts -l driver=qcow2,file.filename=a' \
    '--image-opts -c o driver=qcow2,file.filename=a'; do
    echo "== $words"
    img snapshot $words
done
