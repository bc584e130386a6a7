# Every form of a secret opens the same disk.
qemu-img create -q -f luks --object secret,id=s,data=open,,sesame -o key-secret=s,iter-time=10 a.luks 64k
I='driver=luks,key-secret=s,file.driver=file,file.filename=a.luks'
qemu-io --object secret,id=s,data=open,,sesame --image-opts "$I" -c 'write -P 7 0 64k'
printf 'open,sesame' > key
printf 'b3BlbixzZXNhbWU=' > key64
for object in secret,id=s,file=key secret,id=s,data=b3BlbixzZXNhbWU=,format=base64 secret,id=s,file=key64,format=base64 \
  secret,id=s,data=open,,sesame,format=raw '{"qom-type":"secret","id":"s","data":"open,sesame"}' secret,id=s,data=wrong \
  secret,id=s,file=missing secret,id=s secret,id=s,data=x,file=key secret,id=s,data=%,format=base64 \
  secret,id=s,data=x,format=hex secret,id=t,data=x; do
  qemu-io --object "$object" --image-opts "$I" -c 'read -P 7 0 64k'; echo "$?"
done
# A pipe is read once.
printf 'open,sesame' | qemu-io --object secret,id=s,file=/dev/stdin --image-opts "$I" -c 'read -P 7 0 64k'; echo $?
printf 'open,sesame' | qemu-img create -q -f luks --object secret,id=s,file=/dev/stdin -o key-secret=s,iter-time=10 b.luks 64k
echo $?; qemu-io --object secret,id=s,data=open,,sesame --image-opts "${I%a.luks}b.luks" -c 'write 0 512'; echo $?
# One that is encrypted with another.
M='--object secret,id=m,data=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,format=base64'
E='secret,id=s,keyid=m,format=base64,iv=ICEiIyQlJicoKSorLC0uLw=='
qemu-io $M --object "$E,data=x0sjV9bcUjKJqqlmwfl2EQ==" --image-opts "$I" -c 'read -P 7 0 64k'; echo $?
qemu-io $M --object "$E" --image-opts "$I" -c 'read -P 7 0 64k'; echo $?
qemu-io --object secret,id=m,data=short --object "$E,data=x0sjV9bcUjKJqqlmwfl2EQ==" --image-opts "$I" -c 'read -P 7 0 64k'; echo $?
rm -f a.luks b.luks
