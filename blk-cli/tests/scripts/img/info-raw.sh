# A raw image, for people and for programs.
. "${0%/*}/../prelude"
qemu-img create -q a.raw 1M
info a.raw
info -f raw a.raw
qemu-img info --output=json a.raw | grep -v actual-size
