# A snapshot that is made or deleted leaves the bitmaps.
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-img bitmap --add a.qcow2 b
qemu-io -c 'write 1M 64k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2; echo "exit $?"
qemu-io -c 'write 1M 64k' -c 'write 2M 64k' a.qcow2 >/dev/null
qemu-nbd -r -f qcow2 -B b -k "$PWD/socket" a.qcow2 & server=$!
until nbdinfo --map=qemu:dirty-bitmap:b "nbd+unix:///?socket=$PWD/socket" 2>/dev/null; do sleep 0.1; done
wait $server; rm -f socket
qemu-img snapshot -d one a.qcow2; echo "exit $?"
qemu-img info a.qcow2 | grep -A6 bitmaps:
qemu-img check a.qcow2 | head -1
