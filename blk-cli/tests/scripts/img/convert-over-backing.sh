# Targets that lie over a disk, which is shorter, longer, or another one.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 base 1M
fill qcow2 base
qemu-img create -q -f qcow2 -b base -F qcow2 over 2M
qemu-io -c 'write -q -P 9 64k 64k' -c 'write -q -z 256k 64k' -c 'write -q -P 9 1500k 3k' over
qemu-img create -q -f qcow2 short 300k
qemu-img create -q -f raw long 3M
for backing in base short long; do
    format=qcow2
    test $backing = long && format=raw
    for words in '' -c '-S 0' '-o cluster_size=512' '-o cluster_size=2M' '-o extended_l2=on' '-o compat=0.10'; do
        rm -f b
        echo "== $backing $words"
        img convert -B $backing -F $format $words -O qcow2 over b
        img compare over b
        case $backing$words in long* | *=512 | *extended*) ;; *) map b ;; esac
    done
done
img convert -B base -O qcow2 over b
img convert -F qcow2 -O qcow2 over b
img convert -B base -F qcow2 -O raw over c
img convert -B none -F qcow2 -O qcow2 over c
rm -f b c
