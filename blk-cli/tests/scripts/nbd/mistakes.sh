# Command lines that are refused.
qemu-img create -q -f raw a.img 1M
for words in '-x' '--nothing' '-k' '--pid-file' '--handshake-limit=x' '--tls-creds=x' '--object nothing,id=a' \
  '-l x -s' '-D x -L' '-L a.img' '-x x -L' '-B' '--tls-hostname=x'; do
  timeout 5 qemu-nbd $words -f raw -k "$PWD/s" a.img > out 2> err < /dev/null; echo "$words: exit $?"
  cat out; test -s err || echo 'without a word'
done
qemu-nbd -k relative -f raw a.img; echo "exit $?"
rm out err
rm -f s
