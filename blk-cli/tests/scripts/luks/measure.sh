# The header is counted.
qemu-img measure -O luks --size 5G --object secret,id=s,data=abc -o key-secret=s; echo $?
qemu-img measure --output=json -O luks --size 1M --object secret,id=s,data=abc -o key-secret=s; echo $?
