# One bitmap takes what others hold, of any granularity.
dirty() { # FILE BITMAP: the dirty runs, as a server tells them
    qemu-nbd -r -f qcow2 -B "$2" -k "$PWD/socket" "$1" & server=$!
    until nbdinfo --map="qemu:dirty-bitmap:$2" "nbd+unix:///?socket=$PWD/socket" 2>/dev/null; do sleep 0.1; done
    wait $server; rm -f socket
}

list() { qemu-img info "$1" | sed -n "/bitmaps:/,/refcount/p"; }

qemu-img create -q -f qcow2 a.qcow2 8M
qemu-img bitmap --add -g 4k a.qcow2 fine
qemu-io -c 'write 4k 4k' -c 'write 3M 1M' a.qcow2 >/dev/null
qemu-img bitmap --add -g 1M --disable a.qcow2 coarse
qemu-img bitmap --add -g 64k --disable a.qcow2 same
qemu-img bitmap --merge fine a.qcow2 coarse; echo "exit $?"
dirty a.qcow2 coarse
qemu-img bitmap --merge coarse --merge fine a.qcow2 same; echo "exit $?"
dirty a.qcow2 same
qemu-img bitmap --merge same --enable a.qcow2 fine; echo "exit $?"
dirty a.qcow2 fine
qemu-img bitmap --merge fine a.qcow2 fine; echo "exit $?"
qemu-img bitmap --merge missing a.qcow2 fine; echo "exit $?"
qemu-img bitmap --merge fine a.qcow2 missing; echo "exit $?"
list a.qcow2
qemu-img check a.qcow2 | head -1
