# A name that is another snapshot's ID, and one that two have.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 64k' a.qcow2 >/dev/null
qemu-img snapshot -c 2 a.qcow2
qemu-io -c 'write -P 2 0 64k' a.qcow2 >/dev/null
qemu-img snapshot -c same a.qcow2
qemu-io -c 'write -P 3 0 64k' a.qcow2 >/dev/null
qemu-img snapshot -c same a.qcow2
qemu-img snapshot -a 2 a.qcow2
qemu-io -c 'read -P 2 0 64k' a.qcow2 | grep -v ops
qemu-img snapshot -a same a.qcow2
qemu-io -c 'read -P 2 0 64k' a.qcow2 | grep -v ops
qemu-img snapshot -d same a.qcow2
qemu-img snapshot -d 2 a.qcow2
qemu-img snapshot -l a.qcow2 | sed 's/20[0-9][0-9]-[0-9-]* [0-9:]*/DATE/'
qemu-img check a.qcow2
