# To and from images with data files.
qemu-img create -q s.raw 2M
qemu-io -f raw -c 'write -P 4 100k 300k' -c 'write -P 5 1M 5k' s.raw | grep -v ops
for raw in off on; do
    qemu-img convert -f raw -O qcow2 -o data_file=d-$raw,data_file_raw=$raw s.raw t-$raw.qcow2
    echo "exit $?"
    qemu-img compare -f raw -F qcow2 s.raw t-$raw.qcow2
    qemu-img check t-$raw.qcow2 >/dev/null
    echo "exit $?"
    qemu-img convert -O raw t-$raw.qcow2 back-$raw.raw
    qemu-img compare -f raw -F raw s.raw back-$raw.raw
done
qemu-img compare -f raw -F raw s.raw d-on
qemu-img convert -n -O qcow2 s.raw t-off.qcow2
echo "exit $?"
qemu-img dd -f qcow2 -O raw bs=64k count=4 if=t-on.qcow2 of=part.raw
qemu-img compare -f raw -F raw s.raw part.raw | head -n 1
