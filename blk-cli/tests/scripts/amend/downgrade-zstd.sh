# The kind of compression goes where nothing is compressed.
qemu-img create -q -f qcow2 -o compression_type=zstd a.qcow2 1M
qemu-img amend -o compat=0.10 a.qcow2; echo "exit $?"
qemu-img info a.qcow2 | grep -e compat: -e compression
qemu-io -c 'write -c -P 5 0 64k' a.qcow2 >/dev/null
qemu-io -c 'read -P 5 0 64k' a.qcow2 | grep -c failed
qemu-img check a.qcow2 | head -1
