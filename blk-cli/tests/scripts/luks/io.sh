# Reads and writes of any alignment on an encrypted disk that the other program made, too.
S='--object secret,id=s,data=abc'
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 1M; echo "create $?"
stat -c %s a.luks
qemu-io $S --image-opts "$I" -c 'write -P 1 0 1M' -c 'read -P 1 0 1M' -c 'write -P 2 1 10' -c 'read -P 2 1 10' \
  -c 'read -P 1 11 1000' -c 'write -P 3 500 30' -c 'read -P 3 500 30' -c 'read -P 1 530 100' -c 'write -P 4 4k 64k' \
  -c 'read -P 4 4k 64k' -c 'aio_write -P 5 70k 3k' -c 'aio_flush' -c 'read -P 5 70k 3k' -c 'flush' -c 'length'
qemu-io $S --image-opts "$I" -c 'read -P 5 70k 3k' -c 'read -P 3 500 30' -c 'write 1M 1' -c 'read 1048575 2'
qemu-io $S --image-opts "$I" -r -c 'read -P 5 70k 3k'
qemu-io $S --image-opts "$I" -r -c 'write 0 512'
rm a.luks
