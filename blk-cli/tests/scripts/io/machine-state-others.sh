# Disks that keep none.
qemu-img create -q -f raw a.raw 1M
for words in '-f raw -c "write -b 0 512"' '-f raw -c "read -b 0 512"' '-r -f raw -c "write -b 0 512"'; do
    eval "qemu-io $words a.raw" >output 2>errors
    echo "exit $?"
    sed 's/ failed: .*/ failed/' output
done
rm output errors
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io --image-opts -c 'write -b -P 3 0 1k' -c 'read -b -P 3 0 1k' driver=qcow2,file.filename=a.qcow2 | grep -v ops
qemu-io -s -c 'write -b -P 4 0 1k' -c 'read -b -P 4 0 1k' a.qcow2 | grep -v ops
qemu-io -r -c 'read -b -P 3 0 1k' a.qcow2 | grep -v ops
