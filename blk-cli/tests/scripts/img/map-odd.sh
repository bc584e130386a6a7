# The last sector is whole.
printf 'something' > a.raw
qemu-img map -f raw a.raw
qemu-img map --output=json -f raw a.raw
