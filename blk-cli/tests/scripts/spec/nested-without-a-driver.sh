# What an image lies in has a driver or a name: only an image itself is probed. As QEMU has it, and at any depth in no time.
truncate -s 1M r.raw
qemu-img create -q -f qcow2 q.qcow2 1M
nest() {
    j=$1
    for i in $(seq "$3"); do j="$2$j}"; done
    printf 'json:%s' "$j"
}
for depth in 1 2 3 40 60; do
    name=$(nest '{"filename":"q.qcow2"}' '{"file":' $depth)
    qemu-img map "$name" 2>&1 | grep -c . ; qemu-io -r -c length "$name" | head -n 1
done
name=$(nest '{"filename":"r.raw"}' '{"file":' 40)
qemu-img create -q -u -f qcow2 -b "$name" -F raw top.qcow2 1M || echo refused
qemu-io -r -c 'read 0 512' top.qcow2 2>&1 | grep -c .
timeout 10 qemu-img convert -O raw top.qcow2 out.raw 2>/dev/null; echo $?
for spec in '{"file":{"filename":"q.qcow2"}}' '{"filename":"q.qcow2"}' '{"driver":"raw","file":{"file":{"filename":"q.qcow2"}}}' \
    '{"driver":"blkdebug","image":{"file":{"filename":"q.qcow2"}}}' '{"file":{"filename":"file:q.qcow2"}}' \
    '{"file":{"filename":"blkdebug::q.qcow2"}}' '{"file":{"filename":"null-co://"}}' \
    '{"driver":"blkverify","raw":{"filename":"r.raw"},"test":{"filename":"q.qcow2"}}' \
    '{"driver":"blkverify","raw":{"filename":"r.raw"},"test":{"file":{"filename":"q.qcow2"}}}' \
    '{"file":{"driver":"raw","file":{"filename":"q.qcow2"}}}'; do
    echo "$spec"
    qemu-io -r -c length "json:$spec" 2>&1
done
ln q.qcow2 blkdebug::z
qemu-io -r -c length 'json:{"file":{"filename":"blkdebug::z"}}'
rm -f top.qcow2
