# What contradicts a data file, or a raw one.
qemu-img create -q base.raw 1M
for options in data_file_raw=on data_file=d,compat=0.10 \
    data_file=d,data_file_raw=on,backing_file=base.raw,backing_fmt=raw data_file=t.qcow2 data_file=none/d; do
    rm -f t.qcow2 d
    qemu-img create -q -f qcow2 -o $options t.qcow2 1M 2>/dev/null
    echo "$options: exit $?"
done
rm -f t.qcow2 d
