# Sources of odd lengths, one behind the other.
. "${0%/*}/../prelude"
printf a >one
head -c 1000 /dev/zero | tr '\0' b >two
qemu-img create -q -f qcow2 three 100k
qemu-io -c 'write -q -P 3 1k 5k' three
: >none
for words in '-O raw' '-O qcow2' '-c -O qcow2' '-S 0 -O qcow2' '-O qcow2 -o cluster_size=512' '-W -m 8 -O raw'; do
    for sources in 'one two' 'two one two' 'none one' 'one three two' 'none none' 'three three'; do
        rm -f b
        echo "== $words $sources"
        img convert $words $sources b
        map b
        qemu-img convert -O raw b "out$(echo $words $sources | tr ' ' _).raw"
    done
done
