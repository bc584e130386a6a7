# An overlay's writes are no business of its backing file's bitmaps.
dirty() { # FILE BITMAP: the dirty runs, as a server tells them
    qemu-nbd -r -f qcow2 -B "$2" -k "$PWD/socket" "$1" & server=$!
    until nbdinfo --map="qemu:dirty-bitmap:$2" "nbd+unix:///?socket=$PWD/socket" 2>/dev/null; do sleep 0.1; done
    wait $server; rm -f socket
}

qemu-img create -q -f qcow2 base.qcow2 4M
qemu-img bitmap --add base.qcow2 b
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
qemu-img bitmap --add over.qcow2 b
qemu-io -c 'write 1M 100' -c 'write -z 2M 64k' over.qcow2 >/dev/null
dirty over.qcow2 b
dirty base.qcow2 b
