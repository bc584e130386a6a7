# What is written through the filter is stored compressed, in whole clusters; a cluster that is there already is not written.
F=file.driver=qcow2,file.file.filename=a.qcow2
for cluster in 4k 64k; do
    for request in 'write -P 1 0 256k' 'write -P 1 128k 1k' 'write -P 1 130k 200k' 'write -z 128k 1k' 'write -z 100k 200k' \
        'write -zu 400k 200k' 'write -zn 100k 200k' 'write -zn 128k 64k' 'write -c 0 64k' 'writev -P 2 32k 32k 512' \
        'discard 128k 64k' 'discard 130k 10k' 'truncate 2M' 'write -P 3 1023k 1k' 'write -f -P 1 64k 3k'; do
        for backing in '' '-b base -F raw'; do
            rm -f a.qcow2 base
            qemu-img create -q -f raw base 1M
            qemu-io -f raw -c 'write -q -P 9 0 1M' base
            qemu-img create -q -f qcow2 -o cluster_size=$cluster $backing a.qcow2 1M
            echo "== $cluster $request $backing"
            qemu-io --image-opts driver=compress,$F -c "$request" -c map -c 'read -P 1 130k 512' 2>&1 \
                | sed '/ ops; /d; s/^qemu-io: can.t open.*/refused/'
            qemu-img map --output=json a.qcow2 | sed 's/, "offset": [0-9]*//'
            qemu-img check -q a.qcow2
            echo "exit $?"
        done
    done
done
qemu-img compare base a.qcow2 > compared
qemu-img map --output=json --image-opts driver=compress,$F | sed 's/, "offset": [0-9]*//'
qemu-img check --image-opts driver=compress,$F
echo "exit $?"
qemu-img resize -q --image-opts driver=compress,$F 3M
qemu-io -c info --image-opts driver=compress,$F | grep -v '^vm'
qemu-io -c 'read 0 1k' -f compress a.qcow2 2>&1 | sed 's/: .*//'
qemu-io -c 'read 0 1k' --image-opts driver=compress 2>&1 | sed 's/: .*//'
qemu-io -c 'read 0 1k' --image-opts driver=compress,x=1,$F 2>&1 | sed 's/: .*//'
qemu-io -c 'read 0 1k' --image-opts driver=compress,file.driver=raw,file.file.filename=base 2>&1 | sed 's/: .*//'
qemu-img create -q -f qcow2 odd 100k
O=driver=compress,file.driver=qcow2,file.file.filename=odd
qemu-io -c 'write 0 1k' --image-opts $O 2>&1 | sed 's/: .*//'
qemu-io -r -c 'read -q 0 1k' --image-opts $O
echo "exit $?"
qemu-img create -q -f qcow2 -F compress top 1M -u \
    -b "json:{'driver':'compress','file':{'driver':'qcow2','file':{'driver':'file','filename':'a.qcow2'}}}"
qemu-io -c 'read -q -P 1 64k 3k' -c 'write -q -P 4 0 1k' -c 'map' top
echo "exit $?"
