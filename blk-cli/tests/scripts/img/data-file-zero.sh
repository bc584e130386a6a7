# Zeroes and discards of a plain data file are marks; what is unmapped is given back.
qemu-img create -q -f qcow2 -o data_file=d t.qcow2 2M
qemu-io -d unmap -c 'write -P 5 0 1M' -c 'write -z 0 64k' -c 'write -z -u 64k 64k' -c 'discard 128k 64k' \
    -c 'write -z 200k 4k' t.qcow2 | grep -v ops
qemu-io -c 'read -P 0 0 192k' -c 'read -P 5 192k 8k' -c 'read -P 0 200k 4k' -c 'read -P 5 204k 820k' t.qcow2 \
    | grep -v ops
qemu-io -f raw -r -c 'read -P 5 0 64k' -c 'read -P 0 64k 128k' d | grep -v ops
qemu-io -c 'write -P 3 10k 1k' -c 'write -P 4 70k 1k' t.qcow2 | grep -v ops
qemu-io -c 'read -P 0 0 10k' -c 'read -P 3 10k 1k' -c 'read -P 0 11k 59k' -c 'read -P 4 70k 1k' t.qcow2 | grep -v ops
qemu-img check t.qcow2 | sed '/Image end/d'
