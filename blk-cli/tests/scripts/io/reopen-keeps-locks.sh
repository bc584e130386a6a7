# A refused reopen keeps the locks: another program is turned away after it, and the disk still writes.
for words in '-o driver=raw' '-o foo=1' '-o lazy-refcounts=x' '-o overlap-check=foo' '-o file.filename=x' '-o node-name=x' '-o read-only=x' '-o force-share=on'; do
    qemu-img create -q -f qcow2 t.qcow2 1M
    mkfifo commands
    qemu-io -f qcow2 t.qcow2 <commands >output 2>errors &
    exec 3>commands
    printf 'write -P 1 0 64k\nreopen %s\nlength\n' "$words" >&3
    tries=0
    until grep -q '1 MiB' output 2>/dev/null || [ $tries -gt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    qemu-io -f qcow2 -c 'write -P 9 0 512' t.qcow2 >nothing 2>&1
    echo "$words: another program exits $?"
    printf 'write -P 2 64k 64k\n' >&3
    exec 3>&-
    wait
    qemu-io -f qcow2 -c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' t.qcow2 | grep -c failed
    qemu-img check -q t.qcow2
    echo "check exits $?"
    rm -f commands output errors nothing
done
