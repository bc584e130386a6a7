# A name that could be taken for a protocol, and backing files by every kind of name.
mkdir folder
qemu-img create -q -f qcow2 ./a:b.qcow2 1M
qemu-img info ./a:b.qcow2 | grep -v 'disk size\|file length'
cd folder
qemu-img create -q -f qcow2 base 1M
ln base x:y
for backing in base ./base "$PWD/base" file:base ./x:y ../folder/base; do
    qemu-img create -q -f qcow2 -b "$backing" -F qcow2 top
    for name in top ./top "$PWD/top" file:top ../folder/top; do
        qemu-img info "$name" | grep '^image\|^backing'
        qemu-img info --output=json "$name" | grep 'backing-filename"\|"filename'
        qemu-img info --backing-chain "$name" | grep '^image\|filename'
        qemu-img map --output=json "$name"
    done
done
cd ..
qemu-img info folder/top | grep '^image\|^backing'
qemu-img info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"folder/x:y"}}' | grep 'image\|filename'
