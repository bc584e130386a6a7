# --cache and -n: every mode serves the same bytes, and nothing that was flushed is lost.
. "${0%/*}/../prelude"
for mode in none writeback writethrough directsync unsafe; do
  qemu-img create -q -f qcow2 a.qcow2 1M
  start --cache=$mode -f qcow2 a.qcow2; echo "$mode: exit $?"
  qemu-io -f raw -c 'write -q -P 7 1000 3000' -c 'flush' -c 'read -q -P 7 1000 3000' "$uri"
  stop
  qemu-io -r -c 'read -q -P 7 1000 3000' -c 'read -q -P 0 4000 1000' a.qcow2
done
qemu-nbd --cache=x -f qcow2 -k "$PWD/s" a.qcow2; echo "exit $?"
qemu-nbd --aio=x -f qcow2 -k "$PWD/s" a.qcow2 2> /dev/null; echo "exit $?"
qemu-nbd -n --cache=none -f qcow2 -k "$PWD/s" a.qcow2 2> /dev/null; echo "exit $?"
