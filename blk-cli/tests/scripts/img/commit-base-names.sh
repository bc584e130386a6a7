# The base of a commit by any of its names: QEMU knows relative ones, absolute ones and links.
mkdir dir
qemu-img create -q -f qcow2 dir/base 1M
qemu-img create -q -f qcow2 -b base -F qcow2 dir/mid
for name in base ./base ../dir/base "$PWD/dir/base" link; do
  rm -f dir/top
  ln -sf base dir/link
  qemu-img create -q -f qcow2 -b mid -F qcow2 dir/top
  qemu-io -c 'write -P 7 64k 64k' dir/top | grep -v ops
  qemu-img commit -b "$name" dir/top
  echo "$name: exit $?"
done
for name in top mid2 dir/missing ''; do
  qemu-img commit -b "$name" dir/top
  echo "$name: exit $?"
done
qemu-img map --output=json dir/base
