# Cache modes change nothing that could be seen.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
for mode in none writeback writethrough directsync unsafe; do
    qemu-img convert -t $mode -T writeback -O qcow2 a.qcow2 b.qcow2
    echo "exit $?"
    qemu-img compare a.qcow2 b.qcow2
done
