# Without -t the server ends with its first client.
qemu-img create -q -f raw a.img 1M
qemu-nbd -f raw -k "$PWD/s" a.img &
until test -S s; do sleep 0.05; done
qemu-io -f raw -c 'write -q -P 5 4k 8k' -c 'read -q -P 5 4k 8k' "nbd+unix:///?socket=$PWD/s"
wait $!
echo "exit $?"
test -e s && echo "the socket is left"
qemu-io -r -f raw -c 'read -q -P 5 4k 8k' -c 'read -q -P 0 12k 4k' a.img
