# What info tells of an export: its child node is the connection. QEMU leaves out a slash of its address.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
truncate -s 1M a.qcow2
start -f qcow2 a.qcow2
for form in human json; do qemu-img info --output=$form -f raw "$uri" | sed 's,unix:///,unix://,'; done
stop
start -f raw a.qcow2
for form in human json; do qemu-img info --output=$form -f qcow2 "$uri" | sed 's,unix:///,unix://,'; done
stop
