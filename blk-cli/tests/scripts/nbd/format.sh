# -f and --image-opts: how the image is opened; and mistakes.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
truncate -s 262144 a.qcow2
sized() { start "$@" && nbdinfo --size "$uri" && stop; }
sized -f qcow2 a.qcow2
sized -f raw a.qcow2
sized a.qcow2
sized --image-opts driver=qcow2,file.filename=a.qcow2
sized --image-opts driver=raw,size=512,file.filename=a.qcow2
sized 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}'
for words in '-f vmdk a.qcow2' '-f nothing a.qcow2' '-f qcow2 --image-opts driver=qcow2,file.filename=a.qcow2' \
  '-f qcow2 gone.qcow2' '-f qcow2' '-f qcow2 a.qcow2 b.qcow2'; do
  qemu-nbd -k "$PWD/s" $words 2> /dev/null; echo "$words: exit $?"
done
rm -f s
