# For programs.
qemu-img measure -O qcow2 --size 1G --output=json
qemu-img measure -O raw --size 1G --output=json
