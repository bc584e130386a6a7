# What a disk below tells of its holes and marks counts for the rest of a cluster.
truncate -s 1M hole.raw
qemu-io -f raw -c 'write -P 1 512k 4k' hole.raw
qemu-img create -q -f qcow2 -o cluster_size=4k marked.qcow2 1M
qemu-io -c 'write -P 1 512k 4k' -c 'write -z 516k 60k' -c 'write -P 1 600k 4k' marked.qcow2
for base in hole.raw marked.qcow2; do
    for command in 'write -z 512k 4k' 'write -z 516k 4k' 'write -zn 516k 4k' 'write -z 640k 4k' 'write -z 500k 16k' 'write -z 512k 64k'; do
        echo "== $base $command"
        qemu-img create -q -f qcow2 -b $base -F ${base#*.} t.qcow2
        qemu-io -c "$command" -c map t.qcow2
        qemu-img map --output=json t.qcow2
        qemu-img check t.qcow2
    done
done
