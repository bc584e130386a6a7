for size in 0 512 1k 1536 1M 1000000k 1G 1536M 3T; do
    qemu-img create -q -f qcow2 t.qcow2 $size
    qemu-io -c length t.qcow2
done
