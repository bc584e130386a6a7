# Whoever only reads an image leaves its bitmaps as they are.
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-img bitmap --add a.qcow2 b
before=$(sha256sum a.qcow2)
qemu-io -r -c 'read 0 64k' a.qcow2 >/dev/null
qemu-img info a.qcow2 >/dev/null
qemu-img map a.qcow2
qemu-img convert --bitmaps -O qcow2 a.qcow2 b.qcow2
qemu-img check a.qcow2 >/dev/null
[ "$before" = "$(sha256sum a.qcow2)" ] && echo same
