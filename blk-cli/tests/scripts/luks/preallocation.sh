# What is allocated at creation.
S='--object secret,id=s,data=abc'
for mode in off metadata falloc full foo; do
  qemu-img create -q -f luks $S -o key-secret=s,iter-time=10,preallocation=$mode a.luks 4M; echo "$mode $?"
  if [ -e a.luks ]; then
    stat -c %s a.luks
    test $(stat -c %b a.luks) -gt 8000 && echo allocated
    rm a.luks
  fi
done
