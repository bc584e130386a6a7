# A server of an image that is written tells what its clients have written.
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-img bitmap --add a.qcow2 b
qemu-img bitmap --add --disable a.qcow2 still
qemu-nbd -t -f qcow2 -B b -B still -k "$PWD/socket" a.qcow2 & server=$!
uri="nbd+unix:///?socket=$PWD/socket"
until nbdinfo --map=qemu:dirty-bitmap:b "$uri" 2>/dev/null; do sleep 0.1; done
qemu-io -f raw -c 'write 1M 64k' -c 'write -z 3M 64k' "$uri" >/dev/null
nbdinfo --map=qemu:dirty-bitmap:b "$uri"
nbdinfo --map=qemu:dirty-bitmap:still "$uri"
kill $server; wait $server
rm -f socket
qemu-img check a.qcow2 | head -1
qemu-img info a.qcow2 | grep -A12 bitmaps:
