# Over a backing file, a write takes the subclusters that it touches.
qemu-img create -q -f raw base 300k
qemu-io -f raw -c 'write -P 9 0 300k' base >/dev/null
qemu-img create -q -f qcow2 -o extended_l2=on -b base -F raw a.qcow2 512k
qemu-io -c 'write -P 1 5000 100' -c 'write -P 2 63k 3k' -c 'write -z 100k 5k' -c 'write -z 70001 10' \
    -c 'write -P 3 299k 2k' -c 'write -P 4 511k 1k' a.qcow2
qemu-img map --output=json a.qcow2
for range in '0 64k' '64k 64k' '128k 172k' '300k 212k'; do
    qemu-io -c "read -v $range" a.qcow2 | grep -v ops | cksum
done
qemu-img check a.qcow2
