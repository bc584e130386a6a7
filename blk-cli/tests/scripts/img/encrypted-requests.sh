# Reads and writes of any alignment, on a disk that was opened again and again.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in $L $A,cluster_size=512 $L,extended_l2=on $A,compat=0.10; do
  qemu-img create -q -f qcow2 $S -o $options a.qcow2 1M
  qemu-io $S --image-opts "$I" -c 'write -P 1 0 300k' -c 'write -P 2 1 10' -c 'read -P 2 1 10' -c 'read -P 1 11 1000' \
    -c 'write -P 3 500 30' -c 'write -z 64k 64k' -c 'write -P 4 70000 5' -c 'discard 192k 64k' -c 'read -P 0 192k 64k' \
    -c 'aio_write -P 5 400k 3k' -c 'aio_flush' -c 'flush'
  qemu-io $S --image-opts "$I" -r -c 'read -P 5 400k 3k' -c 'read -P 3 500 30' -c 'read -P 0 70005 1000' -c 'read -P 0 900k 10k'
  qemu-img check $S --image-opts "$I" | grep -v -e Image -e fragmented
  rm a.qcow2
done
