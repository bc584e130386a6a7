# What is told of an image in JSON.
S='--object secret,id=s,data=abc'
qemu-img create -q -f luks $S -o key-secret=s,iter-time=10,cipher-mode=cbc,ivgen-alg=essiv a.luks 64k
qemu-img info --output=json a.luks | grep -v -e uuid -e iters -e actual-size
rm a.luks
