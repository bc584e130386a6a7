# The client is killed in the middle; the next one is served, and all that was flushed is there.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 4M
start -f qcow2 a.qcow2
mkfifo commands
qemu-io -f raw "$uri" < commands > /dev/null &
exec 9> commands
echo 'write -q -P 6 1M 1M' >&9
echo 'flush' >&9
until test "$(tr -d -c '\006' < a.qcow2 | wc -c)" -ge 1048576; do sleep 0.05; done
kill -9 $!
exec 9>&-
wait $! 2> /dev/null
qemu-io -f raw -c 'read -q -P 6 1M 1M' "$uri"
stop
rm commands
qemu-img check a.qcow2
