qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c info t.raw
