#!/bin/sh
# Runs the launcher in a container, with what the node has: Apptainer, Singularity, Podman or Docker.
#
#   sh container.sh IMAGE LAUNCHER ARGUMENT...
#
# IMAGE is a file (.sif), a folder with a root file system, or a name as docker://debian:13 or
# debian:13. The job's folder, those of ARGUMENTs, of files that it links to and of EVENTFLOCK_SEES
# (with colons between), and the folders of the node that belong to no system (/home, /data,
# /cvmfs, ...) are seen in the container under their own names.

set -u
image=$1
launcher=$2
shift 2
here=$(pwd)

refuse() { # SENTENCE ARGUMENT...: the launcher writes the receipt
    sentence=$1
    shift
    exec /bin/sh "$launcher" --refuse "$sentence" "$@"
}

find_runtime() { # sets runtime
    case $image in
        /* | *.sif) known='apptainer singularity podman' ;;
        *) known='apptainer singularity podman docker' ;;
    esac
    for runtime in $known; do
        command -v "$runtime" > /dev/null 2>&1 && return 0
    done
    return 1
}

folders() { # ARGUMENT...: those that the job may look at, one in a line
    for folder in /*; do
        case $folder in
            /bin | /boot | /dev | /etc | /lib | /lib?? | /libx32 | /lost+found | /opt | /proc | /root | /run | /sbin | /sys | /usr | /var) ;;
            *) [ ! -d "$folder" ] || echo "$folder" ;;
        esac
    done
    [ ! -d /var/tmp ] || echo /var/tmp
    echo "$here"
    for word; do
        case $word in /*) [ ! -e "$word" ] || echo "${word%/*}" ;; esac
    done
    [ ! -d "${HOME:-/nowhere}" ] || echo "$HOME"
    find "$here" -maxdepth 1 -type l -exec readlink -f {} \; | sed 's|/[^/]*$||'
    printf '%s\n' "${EVENTFLOCK_SEES:-}" | tr : '\n' | sed '/^$/d'
}

variables() { # those of the job; others are of the node's own system
    env | sed -n 's/^\(_CONDOR_[A-Z_]*\|\(SLURM\|EVENTFLOCK\|X509\|BEARER\|KRB5\|XRD\|OMP\|OPENBLAS\|MKL\|LC\)[A-Z0-9_]*\|TMPDIR\|HOME\|LANG\|TZ\)=.*/\1/p'
}

find_runtime || refuse "it has no apptainer, singularity, podman or docker, which $image needs" "$@"
seen=$(folders "$@" | sort -u)
oldifs=$IFS
IFS='
'
set -f
case $runtime in
    apptainer | singularity)
        case $image in /* | *://* | *.sif) ;; *) image=docker://$image ;; esac
        binds=
        for folder in $seen; do binds="$binds,$folder"; done
        gpu=
        [ ! -e /dev/nvidiactl ] || gpu=--nv
        enter="$runtime
exec${gpu:+
$gpu}
--bind
${binds#,}
--pwd
$here
$image" ;;
    *)
        enter="$runtime
run
--rm
--network=host
--workdir=$here"
        for folder in $seen; do
            enter="$enter
--volume=$folder:$folder"
        done
        for name in $(variables); do
            enter="$enter
--env=$name"
        done
        # Podman maps the user by itself: root inside is the user.
        [ "$runtime" = podman ] || [ "$(id -u)" = 0 ] || enter="$enter
--user=$(id -u):$(id -g)"
        if [ -d "$image" ]; then
            enter="$enter
--rootfs
$image:O"
        else
            enter="$enter
${image#docker://}"
        fi ;;
esac

# shellcheck disable=SC2086 # a word in each line
said=$($enter /bin/sh -c true 2>&1) || { IFS=$oldifs; refuse "$runtime cannot start $image: $(printf '%s\n' "$said" | tail -n 1)" "$@"; }
echo "container $image, by $runtime"
# shellcheck disable=SC2086
exec $enter /bin/sh "$launcher" "$@"
