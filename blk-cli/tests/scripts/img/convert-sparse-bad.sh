# Sizes that are none.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
for size in 1 100 17M x; do
    qemu-img convert -S $size -O raw a.qcow2 b.raw
    echo "exit $?"
done
