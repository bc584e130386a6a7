# What other programs do with marks.
qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw o.qcow2
qemu-io -d unmap -c 'write -z 0 64k' -c 'discard 128k 64k' -c 'write -P 2 256k 64k' o.qcow2
qemu-img convert -O qcow2 o.qcow2 flat.qcow2
qemu-img map --output=json flat.qcow2
qemu-img convert -O qcow2 -B base.raw -F raw o.qcow2 over.qcow2
qemu-img map --output=json over.qcow2
qemu-img compare o.qcow2 flat.qcow2
qemu-img compare -s o.qcow2 flat.qcow2
echo "exit $?"
qemu-img measure -O qcow2 o.qcow2
qemu-img rebase -b '' o.qcow2
qemu-img map --output=json o.qcow2
qemu-img create -q -f qcow2 -b base.raw -F raw p.qcow2
qemu-io -d unmap -c 'write -z 0 64k' -c 'discard 128k 64k' p.qcow2
qemu-img commit -q p.qcow2
qemu-io -f raw -c 'read -P 0 0 64k' -c 'read -P 0 128k 64k' -c 'read -P 1 192k 64k' base.raw
