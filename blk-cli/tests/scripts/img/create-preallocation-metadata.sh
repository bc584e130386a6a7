# Mapped, but not written.
qemu-img create -f qcow2 -o preallocation=metadata,cluster_size=4k a.qcow2 1M
qemu-img check a.qcow2
