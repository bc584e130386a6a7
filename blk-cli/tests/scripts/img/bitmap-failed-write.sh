# A request that fails may have changed something: it is recorded.
dirty() { # FILE BITMAP: the dirty runs, as a server tells them
    qemu-nbd -r -f qcow2 -B "$2" -k "$PWD/socket" "$1" & server=$!
    until nbdinfo --map="qemu:dirty-bitmap:$2" "nbd+unix:///?socket=$PWD/socket" 2>/dev/null; do sleep 0.1; done
    wait $server; rm -f socket
}

qemu-img create -q -f qcow2 a.qcow2 4M
qemu-img bitmap --add a.qcow2 b
cat >rules <<END
[inject-error]
event = "write_aio"
errno = "5"
once = "on"
END
qemu-io -c 'write 1M 64k' -c 'write 2M 64k' blkdebug:rules:a.qcow2 2>&1 | sed 's/.*wrote.*/wrote/;/ops/d'
dirty a.qcow2 b
