# The filter passes everything on.
F=file.driver=qcow2,file.file.filename=a.qcow2
O="--object throttle-group,id=tg0,x-bps-total=1000000000 --image-opts driver=throttle,throttle-group=tg0,$F"
qemu-img create -q -f raw base 1M
qemu-img create -q -f qcow2 -b base -F raw a.qcow2 1M
for request in 'read 0 1k' 'write -P 1 100k 1k' 'write -z 256k 64k' 'write -c 512k 64k' 'discard 64k 64k' info map length; do
    echo "== $request"
    qemu-io $O -c "$request" 2> said | sed '/ ops; /d; /^vm state/d'
done
qemu-img map --output=json $O 2> said
qemu-img check $O 2> said
echo "exit $?"
qemu-img convert -O raw $O out 2> said
qemu-img compare -f raw -F qcow2 out a.qcow2
qemu-io -c 'read 0 1k' --image-opts driver=throttle,$F 2>&1 | sed 's/: .*//'
rm said
