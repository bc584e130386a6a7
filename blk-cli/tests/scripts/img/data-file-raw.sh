# A raw data file is the disk, whatever is written, zeroed and discarded.
qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on t.qcow2 2M
qemu-io -d unmap -c 'write -P 5 0 1M' -c 'write -z 0 64k' -c 'write -z -u 64k 64k' -c 'discard 128k 64k' \
    -c 'write -z 200k 4k' -c 'write -P 6 300001 77' t.qcow2 | grep -v ops
qemu-img compare -f qcow2 -F raw t.qcow2 d
qemu-io -f raw -r -c 'read -P 0 0 192k' -c 'read -P 5 192k 8k' -c 'read -P 0 200k 4k' d | grep -v ops
qemu-img check t.qcow2 >/dev/null
echo "exit $?"
