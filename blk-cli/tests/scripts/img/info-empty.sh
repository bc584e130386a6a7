# A file without a byte.
. "${0%/*}/../prelude"
: > a.raw
info a.raw
qemu-img info --output=json a.raw | grep virtual-size
