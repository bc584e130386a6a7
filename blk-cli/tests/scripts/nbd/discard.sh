# --discard and --detect-zeroes: what becomes of discards and of zeroes that clients write.
. "${0%/*}/../prelude"
for mode in --discard=ignore --discard=unmap --discard=off --discard=on; do
  qemu-img create -q -f qcow2 a.qcow2 1M
  qemu-io -c 'write -q -P 1 0 1M' a.qcow2
  start $mode -f qcow2 a.qcow2
  qemu-io -f raw -d unmap -c 'discard -q 64k 256k' -c 'read -q -P 1 0 64k' "$uri"
  qemu-io -f raw -d ignore -c 'discard -q 512k 64k' -c 'read -q -P 1 512k 64k' "$uri"
  stop
  echo "$mode"; qemu-img map a.qcow2 | tr -s ' ' | cut -d' ' -f1,2
done
for mode in off on unmap; do
  qemu-img create -q -f qcow2 a.qcow2 1M
  qemu-io -c 'write -q -P 1 0 1M' a.qcow2
  start --discard=unmap --detect-zeroes=$mode -f qcow2 a.qcow2
  qemu-io -f raw -c 'write -q -P 0 64k 256k' "$uri"
  stop
  echo "$mode"; qemu-img map --output=json a.qcow2
done
qemu-nbd --discard=x -f qcow2 -k "$PWD/s" a.qcow2; echo "exit $?"
qemu-nbd --detect-zeroes=x -f qcow2 -k "$PWD/s" a.qcow2 2> /dev/null; echo "exit $?"
qemu-nbd --detect-zeroes=unmap -f qcow2 -k "$PWD/s" a.qcow2 2> /dev/null; echo "exit $?"
