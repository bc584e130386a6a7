# A server in the background, which many clients use one after the other.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 4M
start -f qcow2 a.qcow2
echo "exit $?"
for number in 1 2 3; do
  qemu-io -f raw -c "write -q -P $number ${number}M 64k" "$uri"
done
qemu-io -f raw -c 'read -q -P 1 1M 64k' -c 'read -q -P 2 2M 64k' -c 'read -q -P 3 3M 64k' "$uri"
kill "$(cat pid)"
while test -e "/proc/$(cat pid)/exe"; do sleep 0.05; done
test -e s && echo "the socket is left"
rm pid
qemu-img check a.qcow2
qemu-img map --output=json a.qcow2
