# The name of the data file, and whether it is the disk; a data file has no version 2.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o data_file=one,data_file_raw=on raw.qcow2 1M
qemu-img create -q -f qcow2 -o data_file=plain plain.qcow2 1M
qemu-img create -q -f qcow2 none.qcow2 1M
qemu-io -c 'write -q -P 5 64k 64k' raw.qcow2
cp one two
for image in raw plain none; do
    for options in data_file_raw=on data_file=two data_file=two,data_file_raw=off data_file_raw=off data_file_raw=on \
        compat=0.10; do
        qemu-img amend -o $options $image.qcow2 2>/dev/null; echo "$image $options: exit $?"
        info $image.qcow2 | grep 'data file'
    done
done
qemu-io -c 'read -q -P 5 64k 64k' -c 'write -q -P 6 0 64k' raw.qcow2; echo "exit $?"
cmp one two | sed 's/,.*//'
qemu-img check raw.qcow2 | head -1
qemu-img amend -o data_file= raw.qcow2; echo "exit $?"
qemu-img info raw.qcow2 >/dev/null 2>&1; echo "exit $?"
qemu-img compare -f raw two --image-opts driver=qcow2,file.filename=raw.qcow2,data-file.filename=two 2>/dev/null; echo "exit $?"
# Without its data file nobody opens it by its name.
rm raw.qcow2
