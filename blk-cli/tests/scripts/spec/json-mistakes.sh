# json: that cannot be read, is no object, or has unknown keys.
qemu-img create -q -f raw a.raw 64k
qemu-io -c 'length' 'json:{"driver":"raw"'
echo "exit $?"
qemu-io -c 'length' 'json:["raw"]'
echo "exit $?"
qemu-io -c 'length' 'json:{}'
echo "exit $?"
qemu-io -c 'length' 'json:{"driver":"raw","file.driver":"file","file.filename":"a.raw","foo":"bar"}'
echo "exit $?"
qemu-io -c 'length' 'json:{"driver":"raw","file.driver":"file","file.filename":"a.raw","file.foo":"bar"}'
echo "exit $?"
