# Zeroes are data, and a discard does nothing.
S='--object secret,id=s,data=abc'
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10 a.luks 256k
qemu-io $S --image-opts "$I" -c 'write -P 1 0 256k' -c 'discard 0 64k' -c 'read -P 1 0 64k' -c 'write -z 4k 4k' \
  -c 'read -P 0 4k 4k' -c 'write -z -u 8k 4k' -c 'read -P 0 8k 4k' -c 'write -z -n 12k 4k' -c 'read -P 1 12k 4k' \
  -c 'write -z 100 1000' -c 'read -P 0 100 1000' -c 'read -P 1 1100 100' -c 'write -c 64k 64k' -c 'write -z -u -n 0 512'
qemu-io $S -d unmap --image-opts "$I" -c 'discard 0 128k' -c 'read -P 1 16k 112k'
qemu-img map --output=json $S --image-opts "$I"
rm a.luks
