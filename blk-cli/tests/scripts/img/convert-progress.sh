# How far it is.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img convert -p -O raw a.qcow2 b.raw
qemu-img convert -p -q -O raw a.qcow2 b.raw
qemu-img create -q -f qcow2 e.qcow2 1M
qemu-img convert -p -O qcow2 e.qcow2 f.qcow2
