qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io t.qcow2 -c length
qemu-io -c length t.qcow2 -r -c 'read 0 512'
qemu-io --cmd length t.qcow2 --cmd=length
qemu-io --cm length t.qcow2
qemu-io -clength t.qcow2
qemu-io -rclength t.qcow2
qemu-io -c length -- t.qcow2
qemu-io --read-only --format=raw -c info t.qcow2
qemu-io -f raw -f qcow2 -c info t.qcow2 | head -n 1
