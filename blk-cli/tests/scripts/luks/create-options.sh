# What an image can be made with; what a header then says.
S='--object secret,id=s,data=abc'
for options in cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256 \
  cipher-alg=serpent-256,cipher-mode=ctr,hash-alg=ripemd160,ivgen-alg=plain cipher-alg=foo cipher-mode=foo hash-alg=foo \
  ivgen-alg=foo ivgen-hash-alg=foo cipher-alg=des cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha1 foo=bar iter-time=x; do
  echo "$options"
  qemu-img create -q -f luks $S -o "key-secret=s,iter-time=10,$options" a.luks 64k; echo $?
  if [ -e a.luks ]; then
    dd if=a.luks bs=1 skip=8 count=104 2>/dev/null | tr '\0' '.'; echo
    qemu-img info a.luks | grep -v -e uuid -e iters -e 'disk size'
    rm a.luks
  fi
done
qemu-img create -q -f luks $S -o iter-time=10 a.luks 64k; echo $?; ls
qemu-img create -q -f luks $S -o key-secret=t a.luks 64k; echo $?; ls
qemu-img create -f luks $S -o key-secret=s,iter-time=10 a.luks 1M; echo $?; stat -c %s a.luks
rm -f a.luks
