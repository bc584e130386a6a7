. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'zone_report 0 1' -c 'zone_open 0 1M' -c 'zone_close 0 1M' -c 'zone_finish 0 1M' -c 'zone_reset 0 1M' -c 'zone_append -p 0 4k 4k' -c 'zrp 0 1' -c 'zo 0 1' -c 'zc 0 1' -c 'zf 0 1' -c 'zrs 0 1' -c 'zap -p 0 4k' t.qcow2
io -c 'zone_report' -c 'zone_report x 1' -c 'zone_open 0 x' -c 'zone_append 0 4k' -c 'zone_append x 1 1' -c 'zone_append -p 0 x' -c 'zone_append 1 2 3 4 5' -c 'zone_open 1' t.qcow2
