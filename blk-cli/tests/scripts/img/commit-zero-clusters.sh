# Zero clusters of the overlay become zero clusters of the base, or holes, and never data.
for base in "-f qcow2" "-f qcow2 -o compat=0.10" "-f raw" "-f qcow2 -o cluster_size=4k" "-f qcow2 -o preallocation=metadata"; do
 for size in 2M 1M; do
  rm -f base top; qemu-img create -q $base base $size; f=$(echo $base | cut -d' ' -f2)
  qemu-io -f $f -c 'write -P 1 0 512k' base >/dev/null
  qemu-img create -q -f qcow2 -b base -F $f top 2M
  qemu-io -c 'write -z 0 64k' -c 'write -z -u 128k 64k' -c 'write -P 0 256k 64k' -c 'write -P 0 768k 64k' -c 'write -z 1M 64k' -c 'write -z -u 1536k 128k' -c 'discard 384k 64k' -c 'write -z 450k 10k' top > /dev/null
  qemu-img commit -q top; echo "$base $size $?"; qemu-img map --output=json -f $f base | sed 's/"offset": [0-9]*/"offset"/'; qemu-img map --output=json top| sed 's/"offset": [0-9]*/"offset"/'; [ $f = qcow2 ] && qemu-img check -q base; echo $?
 done
done
