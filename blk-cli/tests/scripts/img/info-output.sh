# The form has to be one of two.
qemu-img create -q a.raw 1M
qemu-img info --output=xml a.raw
echo "exit $?"
qemu-img info --output human a.raw | head -3
qemu-img info --outp json a.raw | head -3
