# A file without a byte.
info() { qemu-img info "$@" | grep -v 'disk size'; }
: > a.raw
info a.raw
qemu-img info --output=json a.raw | grep virtual-size
