# Into and out of images with subclusters.
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 3k 6k' -c 'write -P 2 300k 100k' -c 'write -z 310k 10k' a.qcow2 >/dev/null
qemu-img convert -O raw a.qcow2 a.raw
qemu-img convert -O qcow2 a.qcow2 plain.qcow2
qemu-img convert -O qcow2 -o extended_l2=on,cluster_size=128k plain.qcow2 b.qcow2
qemu-img convert -c -O qcow2 -o extended_l2=on b.qcow2 c.qcow2
for image in plain.qcow2 b.qcow2 c.qcow2; do
    qemu-img compare a.raw $image
    qemu-img check $image
    qemu-img info $image | grep extended
done
