# A server that is not there.
qemu-io -c 'length' nbd://127.0.0.1:1/
echo "exit $?"
