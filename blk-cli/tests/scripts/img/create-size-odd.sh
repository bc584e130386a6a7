# A size that is no multiple of a sector: the disk has whole sectors.
qemu-img create -f raw a.raw 1000
wc -c < a.raw
qemu-img create -f qcow2 a.qcow2 513
qemu-img map --output=json a.qcow2
