# A snapshot keeps the state that is there, and brings it back.
qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 3M
qemu-io -c 'write -P 1 0 3M' -c 'write -b -P 7 0 2M' a.qcow2 >/dev/null
qemu-img snapshot -c first a.qcow2
qemu-io -c 'write -b -P 8 1M 2M' -c 'read -b -P 7 0 1M' -c 'read -b -P 8 1M 2M' a.qcow2 | grep -v ops
qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
qemu-img snapshot -c second a.qcow2
qemu-img snapshot -l a.qcow2 | cut -c 1-50 | sed 's/  *[-0-9]* [0-9:]*$//'
qemu-img snapshot -a first a.qcow2
qemu-io -r -c 'read -b -P 7 0 2M' -c 'read -b -P 0 2M 1M' a.qcow2 | grep -v ops
qemu-img snapshot -a second a.qcow2
qemu-io -r -c 'read -b -P 7 0 1M' -c 'read -b -P 8 1M 2M' a.qcow2 | grep -v ops
for name in first second; do
    qemu-img snapshot -d $name a.qcow2
    qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
done
