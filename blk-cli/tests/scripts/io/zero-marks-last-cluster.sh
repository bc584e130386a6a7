qemu-img create -q -f raw base.raw 976k
qemu-io -f raw -c 'write -P 1 0 976k' base.raw
for version in 0.10 1.1; do
    for base in '' '-b base.raw -F raw'; do
        for command in 'write -zu 960k 16k' 'write -zu 968k 8k' 'discard 960k 16k' 'discard 960k 8k' 'write -zu 900k 76k'; do
            for first in 'write -P 3 960k 16k' 'read 0 512'; do
                echo "== $version $base $first, $command"
                qemu-img create -q -f qcow2 -o compat=$version $base t.qcow2 976k
                qemu-io -d unmap -c "$first" -c "$command" -c map t.qcow2
                qemu-img map --output=json t.qcow2 | sed 's/, "offset": [0-9]*//'
                qemu-img check t.qcow2 | sed '/Image end/d'
            done
        done
    done
done
