qemu-io -f raw -c length -c 'read 0 0' null-co://
qemu-io -f raw -c 'write 0 512' -c 'read -P 0 0 512' null-co://,size=1M
echo "exit $?"
