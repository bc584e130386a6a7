qemu-img create -q -f qcow2 t.qcow2 1G
qemu-io -c 'write -P 1 0 100M' -c 'read -P 1 0 100M' -c 'write -z 0 1G' -c 'read -P 0 900M 100M' -c 'discard 0 1G' -c 'read -P 0 0 100M' t.qcow2
