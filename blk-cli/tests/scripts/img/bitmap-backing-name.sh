# The header has room for the extension and the name of a backing file, whatever its length.
for length in 1 100 300 344 352 360; do
    name=$(printf 'n%.0s' $(seq $(( length > 200 ? 200 : length ))))
    [ $length -gt 200 ] && { mkdir -p $name; name=$name/$(printf 'm%.0s' $(seq $((length - 201)))); }
    qemu-img create -q -f raw $name 1M
    for cluster in 512 1k 64k; do
        qemu-img create -q -f qcow2 -o cluster_size=$cluster -b $name -F raw a.qcow2 2>/dev/null || continue
        qemu-img bitmap --add a.qcow2 b 2>/dev/null && echo "$length $cluster: added"
        qemu-img info a.qcow2 | grep -c "backing file: $name"
        qemu-io -c 'write 0 64k' a.qcow2 >/dev/null
        qemu-img check a.qcow2 >/dev/null; echo "exit $?"
        rm -f a.qcow2
    done
done
rm -rf n*
