qemu-img create -q -f qcow2 -o cluster_size=512 t.qcow2 1M
qemu-io -d unmap -c 'write -z 0 100k' -c 'write -z 1000 1000' -c 'write -P 5 300k 10k' -c 'write -zu 301k 700' -c 'discard 305k 2000' -c map t.qcow2
qemu-img map --output=json t.qcow2 | sed 's/, "offset": [0-9]*//'
qemu-img check t.qcow2 | sed '/Image end/d'
qemu-img create -q -f qcow2 -o cluster_size=2M t.qcow2 1G
qemu-io -d unmap -c 'write -z 0 1G' -c 'write -P 5 3M 1M' -c 'write -zu 2M 1M' -c 'discard 100M 100M' -c map t.qcow2
qemu-img check t.qcow2
