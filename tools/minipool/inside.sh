#!/bin/sh
# Start the daemons of a pool in its root file system: ROOT memory|disk SHARED...
# It runs in namespaces of its own, for mounts and processes.
set -eu
root=$1; scratch=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"  # jobs unshare their mounts, for which it has to be a mount point
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
execute=/var/lib/condor/execute
own() { chroot "$root" install -d -o condor -g condor "$@"; }
own /var/lib/condor $execute /var/spool/condor /var/log/condor /run/condor /run/lock/condor
[ "$scratch" = disk ] || mount -t tmpfs -o mode=755 tmpfs "$root$execute"
own $execute
for path; do
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
done
# Not chroot: user namespaces, with which Apptainer makes containers, would be refused.
cd "$root"
pivot_root . .
umount -l .
exec /usr/sbin/condor_master -f
