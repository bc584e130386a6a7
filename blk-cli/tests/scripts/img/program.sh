# The program itself.
qemu-img
echo "exit $?"
qemu-img colour
echo "exit $?"
qemu-img --colour
echo "exit $?"
qemu-img --version >/dev/null
echo "exit $?"
qemu-img --help >/dev/null
echo "exit $?"
for command in amend bench bitmap check commit compare convert create dd info map measure rebase resize snapshot; do
    qemu-img $command --help >/dev/null
    echo "exit $?"
    qemu-img $command -h >/dev/null
    echo "exit $?"
done
