#!/bin/sh
# The first program of the guest. `job` comes from the kernel's command line: what to do with the disk under
# test, /dev/vda; /dev/vdb is an archive that the host has packed. Lines that begin with @ are for the host.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox --install -s /bin
disk=/dev/vda
archive=/dev/vdb

finish() {
    echo "@end $1"
    poweroff -f
    sleep 1000
}

# NAME COMMAND...: says that it is done, or what went wrong, and ends.
step() {
    step=$1
    shift
    if "$@" >/tmp/said 2>&1; then
        echo "@done $step"
    else
        echo "@failed $step: $(tail -n 1 /tmp/said)"
        tail -n 20 /tmp/said
        dmesg | tail -n 10
        finish failed
    fi
}

begin() {
    mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs dev /dev || return
    for module in $(cat /modules/order); do
        insmod "/modules/$module" || return
    done
    test -b $disk && test -b $archive
}

forget() {
    sync && echo 3 >/proc/sys/vm/drop_caches
}

# Every file is what it was when the host has packed it, as the disk has it.
verify() {
    forget && (cd /mnt && sha256sum -c SUMS >/tmp/sums) || {
        grep -v ': OK$' /tmp/sums
        return 1
    }
}

make() {
    case $1 in
    ext4) mkfs.ext4 -q -F $disk ;;
    xfs) mkfs.xfs -q -f $disk ;;
    esac
}

# A log as a data base has it: small records, each durable before the next.
records() {
    number=0
    while [ $number -lt "$1" ]; do
        dd if=/dev/urandom of=/mnt/log bs=4000 count=1 seek=$number conv=notrunc,fsync 2>/dev/null || return
        number=$((number + 1))
    done
    sha256sum /mnt/log >/tmp/log.sum
}

# Every other folder goes, and what becomes free is given back.
trim() {
    keep=
    for entry in /mnt/tree/*; do
        [ $keep ] && rm -r "$entry" && keep= || keep=1
    done
    sync && fstrim -v /mnt
}

check() {
    case $1 in
    ext4) e2fsck -f -n $disk ;;
    xfs) xfs_repair -n $disk ;;
    esac
}

# FILE SYSTEM, RECORDS
use() {
    step "$1: make it" make "$1"
    step "$1: mount it" mount -t "$1" $disk /mnt
    step "$1: unpack the tree" tar -x -f $archive -C /mnt
    step "$1: compare checksums" verify
    step "$1: write $2 records, an fsync each" records "$2"
    step "$1: remove every other folder, trim" trim
    step "$1: unpack the tree again" tar -x -f $archive -C /mnt
    step "$1: unmount it" umount /mnt
    step "$1: mount it again" mount -t "$1" $disk /mnt
    step "$1: compare checksums again" verify
    step "$1: compare the records" sha256sum -c /tmp/log.sum
    step "$1: unmount it again" umount /mnt
    step "$1: check it" check "$1"
}

# What the first package that is installed needs: the files of all packages that are essential, none of them
# set up yet.
unpack() {
    for folder in bin sbin lib lib64; do
        mkdir -p /mnt/usr/$folder && ln -s usr/$folder /mnt/$folder || return
    done
    tar -x -f $archive -C /mnt || return
    for files in /mnt/essential/*.tar; do
        /usr/bin/tar -x -k -f "$files" -C /mnt || return
    done
    rm -r /mnt/essential
}

# By its path: without one, busybox takes programs of its own.
inside() {
    chroot /mnt /bin/sh -c "$1"
}

# What scripts of packages expect.
ready() {
    mkdir -p /mnt/proc /mnt/dev /mnt/usr/sbin /mnt/var/lib/dpkg /mnt/etc && : >/mnt/var/lib/dpkg/status &&
        : >/mnt/var/lib/dpkg/available || return
    mount -t proc proc /mnt/proc && mount -t devtmpfs dev /mnt/dev || return
    printf '#!/bin/sh\nexit 101\n' >/mnt/usr/sbin/policy-rc.d && chmod 755 /mnt/usr/sbin/policy-rc.d
    export HOME=/root DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
}

# Debian's own installer of packages installs all of them, in the order that debootstrap has.
install_first() {
    for package in base-passwd base-files libc6 perl-base mawk debconf; do
        inside "dpkg --force-depends --install /debs/${package}_*.deb" || return
    done
}

clean() {
    rm -r /mnt/debs /mnt/usr/sbin/policy-rc.d && umount /mnt/dev && umount /mnt/proc
}

# What the system that boots is to do: compare all files with the sums of their packages.
prepare() {
    echo '/dev/vda / ext4 defaults 0 1' >/mnt/etc/fstab
    echo guest >/mnt/etc/hostname
    cp /booted.sh /mnt/usr/local/sbin/booted && cp /booted.service /mnt/etc/systemd/system/ || return
    inside 'systemctl enable booted.service'
}

install_debian() {
    step 'make ext4' make ext4
    step 'mount it' mount -t ext4 $disk /mnt
    step 'unpack what is essential' unpack
    step 'get ready for packages' ready
    step 'install the first packages' install_first
    step 'unpack all packages' inside 'dpkg --force-depends --unpack /debs/*.deb'
    step 'set up all packages' inside 'dpkg --configure -a'
    step 'prepare the first boot' prepare
    step 'remove the archives' clean
    step 'trim' fstrim -v /mnt
    step 'unmount it' umount /mnt
    step 'check it' check ext4
}

boot_debian() {
    step 'mount the root' mount -t ext4 $disk /mnt
    umount /proc /sys
    mount -o move /dev /mnt/dev
    exec switch_root /mnt /sbin/init
}

step 'find the disk' begin
case $job in
small) use ext4 20 ;;
full)
    use ext4 200
    use xfs 200
    ;;
install) install_debian ;;
boot) boot_debian ;;
*) step "know the job '$job'" false ;;
esac
finish well
