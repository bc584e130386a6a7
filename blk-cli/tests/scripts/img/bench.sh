# Reads and writes.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-img bench -c 100 a.qcow2 | sed 's/completed in .*/completed/'
qemu-img bench -c 100 -w --pattern 5 -s 4k -S 8k -o 1M -d 4 a.qcow2 | sed 's/completed in .*/completed/'
qemu-img bench -q -c 10 -d 1 a.qcow2 | sed 's/completed in .*/completed/'
qemu-io -c 'read -P 5 1M 4k' -c 'read -P 0 1028k 4k' -c 'read -P 5 1032k 4k' a.qcow2 | grep -v ops
qemu-img check a.qcow2
