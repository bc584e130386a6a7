# Encrypted data in a file of its own, which is not the disk.
secret='secret,id=key,data=passphrase'
for raw in off on; do
    for format in luks aes; do
        image=$format-$raw
        if [ $format = luks ]; then quick=,encrypt.iter-time=10; else quick=; fi
        qemu-img create -q -f qcow2 --object $secret -o data_file=$image.data,data_file_raw=$raw,encrypt.format=$format,encrypt.key-secret=key$quick \
            $image.qcow2 2M
        opts=driver=qcow2,file.filename=$image.qcow2,encrypt.key-secret=key
        qemu-io --object $secret --image-opts -c 'write -q -P 7 100k 300k' -c 'write -q -z 128k 64k' \
            -c 'write -q -P 9 1M 3k' -c 'discard -q 192k 64k' $opts
        echo "exit $?"
        qemu-io --object $secret --image-opts -c 'read -q -P 7 100k 28k' -c 'read -q -P 0 128k 128k' \
            -c 'read -q -P 7 256k 144k' -c 'read -q -P 9 1M 3k' $opts
        echo "exit $?"
        qemu-img check --object $secret --image-opts $opts | head -1
        if grep -qa "$(printf '\07\07\07\07\07\07\07\07')" $image.data; then echo 'plain text'; else echo 'no plain text'; fi
    done
done
# Keys are random, so that no two programs leave the same bytes.
rm *.qcow2 *.data
