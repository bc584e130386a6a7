#!/bin/sh
# Runs once the installed system is up: every file of every package is what the package has.
exec >/dev/console 2>&1
echo "@done boot to $(systemctl is-system-running --wait): $(cat /etc/debian_version)"
echo 3 >/proc/sys/vm/drop_caches
cd / || exit
if cat /var/lib/dpkg/info/*.md5sums | md5sum --check --quiet; then
    echo "@done compare $(cat /var/lib/dpkg/info/*.md5sums | wc -l) files with their packages"
    end=well
else
    echo '@failed compare files with their packages'
    end=failed
fi
sync
echo "@end $end"
systemctl poweroff
