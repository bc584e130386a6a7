qemu-img create -q -f qcow2 t.qcow2 1M
printf abc >pattern
qemu-io -c 'write -s pattern 0 10' -c 'read -v 0 12' -c 'write -s pattern 100 2' -c 'read -v 100 4' t.qcow2
head -c 70000 /dev/zero | tr '\0' 'x' >large
qemu-io -c 'write -s large 0 100000' -c 'read -P 0x78 0 100000' -c 'write -s large 0 512' t.qcow2
