# Clusters that several tables have: their references are counted by hand, and a write leaves the old bytes.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write -P 1 4k 4k' -c 'write -P 2 40k 2k' -c 'write -z 20k 2k' a.qcow2 >/dev/null
# The second guest cluster refers to the same host cluster.
put a.qcow2 0x40000 '\000'
put a.qcow2 0x40010 '\000\000\000\000\000\005\000\000\000\000\000\000\000\020\000\014'
put a.qcow2 0x2000a '\000\002'
qemu-img check a.qcow2
qemu-io -c 'write -P 3 10k 1k' -c 'read -P 1 4k 4k' -c 'read -P 2 40k 2k' -c 'read -P 0 20k 2k' a.qcow2
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
qemu-io -c 'write -z 68k 2k' -c 'write -P 4 80k 1k' -c 'read -P 1 70k 2k' -c 'read -P 2 104k 2k' a.qcow2
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
