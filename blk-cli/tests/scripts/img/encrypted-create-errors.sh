# What cannot be made is refused, and nothing is left.
S='--object secret,id=s,data=abc --object secret,id=n,data=new'
I='driver=qcow2,encrypt.key-secret=s,file.driver=file,file.filename=a.qcow2'
N='driver=qcow2,encrypt.key-secret=n,file.driver=file,file.filename=a.qcow2'
L=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10
A=encrypt.format=aes,encrypt.key-secret=s
for options in encrypt.format=luks encrypt.format=aes encryption=on encrypt.key-secret=s encrypt.cipher-alg=aes-256 \
  encrypt.format=foo,encrypt.key-secret=s encryption=on,$L $L,encrypt.cipher-alg=des $L,encrypt.cipher-mode=foo \
  $L,encrypt.hash-alg=md4 $L,encrypt.ivgen-alg=foo $A,encrypt.cipher-alg=aes-256 $L,encrypt.foo=bar \
  encrypt.format=luks,encrypt.key-secret=t $L,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha1; do
  qemu-img create -q -f qcow2 $S -o $options a.qcow2 1M >out 2>&1; echo "$options $?"
  rm -f a.qcow2
done
rm out
