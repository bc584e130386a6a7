# What a copy would take.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img measure -O qcow2 a.qcow2
qemu-img measure -O raw a.qcow2
qemu-img measure -O qcow2 --output=json a.qcow2
qemu-img convert -O raw a.qcow2 a.raw
qemu-img measure -O qcow2 -f raw a.raw
