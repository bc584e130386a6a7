# What is read through the filter is kept in the image.
F=file.driver=qcow2,file.file.filename=a.qcow2
qemu-img create -q -f raw base 1M
qemu-io -f raw -c 'write -q -P 9 0 1M' base
for cluster in 4k 64k; do
    for request in 'read -P 9 0 1k' 'read -P 9 127k 2k' 'read -q 0 1M' 'write -P 1 100k 1k' 'write -z 100k 100k' \
        'discard 64k 64k' 'write -c 0 64k' 'truncate 2M' 'readv 300k 1k'; do
        rm -f a.qcow2
        qemu-img create -q -f qcow2 -o cluster_size=$cluster -b base -F raw a.qcow2 1M
        echo "== $cluster $request"
        qemu-io --image-opts driver=copy-on-read,$F -c "$request" -c map -c length | sed '/ ops; /d'
        qemu-img map --output=json a.qcow2 | sed 's/, "offset": [0-9]*//'
    done
done
qemu-io -c info --image-opts driver=copy-on-read,$F | grep -v '^vm'
for mode in -r ''; do
    for options in read-only=on bottom=x x=1 file.read-only=on detect-zeroes=on; do
        echo "== $mode $options"
        qemu-io $mode -c 'read -q 0 1k' --image-opts driver=copy-on-read,$options,$F 2>&1 | sed 's/: .*//'
    done
done
for command in info check map; do
    qemu-img $command --image-opts driver=copy-on-read,$F
    echo "exit $?"
done
qemu-io -f copy-on-read -c 'read 0 4' a.qcow2 | sed '/ ops; /d'
qemu-io -c 'open -o driver=copy-on-read,file.driver=qcow2 a.qcow2' -c 'read -q -P 9 500k 1k' -c map
echo "exit $?"
