# A size with as many tables leaves the state where it is.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -b -P 7 0 1M' -c 'truncate 100M' -c 'read -b -P 7 0 1M' -c info a.qcow2 | grep -e 'read' -e 'vm state'
qemu-img resize a.qcow2 512M
qemu-io -r -c 'read -b -P 7 0 1M' -c 'read -P 0 0 512M' a.qcow2 | grep -v ops
qemu-img check a.qcow2 | head -1
