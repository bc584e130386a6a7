# A data file as a node, in place of the image's own.
qemu-img create -q -f qcow2 -o data_file=d t.qcow2 2M
qemu-io -c 'write -P 7 0 64k' t.qcow2 | grep -v ops
mv d elsewhere
qemu-io -c 'read 0 64k' t.qcow2
echo "exit $?"
for node in data-file.filename=elsewhere data-file.driver=file,data-file.filename=elsewhere \
    data-file.driver=raw,data-file.file.filename=elsewhere data-file.filename=none data-file=elsewhere; do
    qemu-io -c 'read -P 7 0 64k' -c 'write -P 8 64k 512' \
        --image-opts driver=qcow2,file.filename=t.qcow2,$node | grep -v ops
done
# The image itself is no data file.
qemu-io -c 'read 0 64k' --image-opts driver=qcow2,file.filename=t.qcow2,data-file.driver=file,data-file.filename=t.qcow2 \
    >/dev/null 2>&1
echo "exit $?"
qemu-img map --image-opts driver=qcow2,file.filename=t.qcow2,data-file.driver=file,data-file.filename=elsewhere
qemu-img create -q -f qcow2 plain.qcow2 1M
qemu-io -c 'read 0 64k' --image-opts driver=qcow2,file.filename=plain.qcow2,data-file.driver=file,data-file.filename=d
echo "exit $?"
rm elsewhere t.qcow2
