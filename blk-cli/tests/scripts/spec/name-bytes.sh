# A name is bytes: not UTF-8, with a line break, a leading dash, a colon.
bad=$(printf 'a\377b')
line=$(printf 'a\nb')
for name in "$bad" "$line" ./x:y 'sp ace' "$(printf '\303\244')" "$(printf 'cut\342\202')" "$(printf '\364\217\276\200')"; do
  qemu-img create -f qcow2 "$name" 1M
  echo "exit $?"
  qemu-io -c 'write -P 5 0 64k' "$name" > /dev/null
  echo "exit $?"
  qemu-img check "$name"
  qemu-img resize "$name" 2M
  qemu-img info -f qcow2 "$name" | grep -v 'disk size'
  qemu-img map "$name"
  qemu-img map --output=json "$name"
  qemu-img convert -O raw "$name" "$name.raw"
  qemu-img compare -f qcow2 -F raw "$name" "$name.raw"
  qemu-img create -q -f qcow2 -b "$name" -F qcow2 "$name.over"
  qemu-img info "$name.over" | grep backing
  qemu-img info --output=json "$name.over" | grep filename
  qemu-img info --backing-chain "$name.over" | grep image
  qemu-io -c 'write -P 6 64k 64k' -c 'read -P 5 0 64k' "$name.over" | grep -v ops
  qemu-img commit "$name.over"
  qemu-img rebase -u -b "$name.raw" -F raw "$name.over"
  qemu-img rebase -b "$name" -F qcow2 "$name.over"
  qemu-io -c 'read -P 6 64k 64k' "$name.over" | grep -v ops
  qemu-img dd -O raw "if=$name" "of=$name.dd" bs=64k count=1
  qemu-img snapshot -l "$name"
  qemu-img measure -O raw "$name"
  qemu-img bench -c 1 -q "$name"
  qemu-img info "$name.missing" 2> /dev/null
  echo "exit $?"
done
qemu-img create -q -f raw -- -dash 1M
qemu-img info -- -dash | grep -v 'disk size'
qemu-img convert -f raw -O qcow2 -- -dash -dash.qcow2
qemu-io -f qcow2 -c 'read 0 512' -- -dash.qcow2 | grep -v ops
