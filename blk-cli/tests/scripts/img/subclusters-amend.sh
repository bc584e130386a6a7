# Extended entries stay what an image was made with.
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-img create -q -f qcow2 b.qcow2 1M
for image in a.qcow2 b.qcow2; do
    for value in on off; do
        qemu-img amend -o extended_l2=$value $image 2>/dev/null
        echo "exit $?"
    done
done
qemu-img amend -o size=2M a.qcow2
qemu-img info a.qcow2 | grep -e virtual -e extended
