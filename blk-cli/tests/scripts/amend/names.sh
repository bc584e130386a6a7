# Names and formats of backing files move with the header.
qemu-img create -q base.raw 1M
for length in 1 100 380 400 440 700 1000; do
    name=$(printf '%*s' $length '' | tr ' ' x)
    qemu-img create -q -u -f qcow2 -b $name -F raw a.qcow2 1M
    for compat in 0.10 1.1 0.10; do
        qemu-img amend --image-opts -o compat=$compat \
            driver=qcow2,file.filename=a.qcow2,backing.driver=raw,backing.file.filename=base.raw 2>/dev/null
        echo "exit $?"
        qemu-img info a.qcow2 2>/dev/null | grep -e compat: -e 'backing file format'
        qemu-img info a.qcow2 2>/dev/null | grep 'backing file:' | cut -c1-40 | sed 's/(.*//'
    done
done
rm a.qcow2
