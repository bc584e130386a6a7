# The options of a format, by name and kind; those that are not built are refused by name, and not listed.
lines() {
    grep '^  ' | sed 's/ *- .*//' | grep -v -e encr -e data_file -e nocow -e extent_size_hint
}
qemu-img create -f qcow2 -o help | lines
qemu-img create -f raw -o help a.raw | lines
qemu-img convert -O qcow2 -o cluster_size=4k,help | lines
qemu-img create -f qcow2 -o help | head -n 1
qemu-img create -f foo -o help
echo "exit $?"
qemu-img amend -f qcow2 -o help | grep -e '^Amend' -e '  size' | sed 's/ *- .*//'
qemu-img amend -f raw -o help
echo "exit $?"
