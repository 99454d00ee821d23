#!/bin/sh
# Runs a program of a packed environment, on a node that has only a shell, tar and gzip.
#
#   sh launch.sh [--glibc auto|never|always] [--cache FOLDER|auto] [--python packed|site]
#                [--job NAME] [--join] [--no-setup]
#                ENVIRONMENT CODE TEMPLATE RESULT ARGUMENT...
#
# ENVIRONMENT and CODE are the two archives, with layers beside ENVIRONMENT; ARGUMENTs are those of their Python. The program should
# write the file RESULT. If it does not, or cannot be started, this script writes it from TEMPLATE,
# a receipt with places for the reason, and for the name of the job where jobs share one template:
# its number, and perhaps a dash and the piece of it that this is.
# With --python site, it is the node's Python that runs the program, with the packed packages before
# its own. With --refuse TEXT, nothing is run: the node cannot, for this reason.
# With --join, errors go where output goes. If CODE has a set-up of the site's software, it is sourced
# before Python starts, but for --no-setup. With --cache, the environment is unpacked into that folder
# of the node once, and used by all jobs that find it there. Exit status:
#
#   0   the program ended well          70  it died without a word
#   85  this node cannot run it         else: what the program said
#
# POSIX sh, tested with dash and busybox. No variable is exported that programs of the node, started
# by the analysis, would trip over.

set -u
UNSUITABLE=85
DIED=70
root=
theirs=
child=
stopped=
glibc_mode=auto
cache=
tree=
lock=
part=
python=packed
use_setup=yes
refused=
job=-1
piece=
while :; do
    case ${1:-} in
        --glibc) glibc_mode=$2; shift 2 ;;
        --cache) cache=$2; shift 2 ;;
        --python) python=$2; shift 2 ;;
        --job)
            # Without the leading zeros, which JSON does not have, and $((...)) takes for octal.
            # shellcheck disable=SC2003
            job=$(expr "${2%%-*}" + 0)
            case $2 in *-*) piece=${2#*-} ;; esac
            shift 2 ;;
        --refuse) refused=$2; shift 2 ;;
        --join) exec 2>&1; shift ;;
        --no-setup) use_setup=no; shift ;;
        *) break ;;
    esac
done
if [ $# -lt 5 ]; then
    echo "usage: launch.sh [OPTION...] ENVIRONMENT CODE TEMPLATE RESULT ARGUMENT..." >&2
    exit 64
fi

# A job may be started with no environment at all.
[ -n "${PATH:-}" ] || PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
export PATH
absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '%s/%s' "$(pwd)" "$1" ;; esac; }
environment=$(absolute "$1")
code=$(absolute "$2")
template=$(absolute "$3")
result=$(absolute "$4")
shift 4

host=$(uname -n)
started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
clock=$(date +%s)
machine=$(uname -m)
user=$(id -un 2>/dev/null) || user=$(id -u)

# --- ending -------------------------------------------------------------------------------------

# shellcheck disable=SC2329 # the trap calls it
clean() { # what HTCondor removes itself is left to it: the result need not wait for that
    [ -z "$root" ] || [ -n "$theirs" ] || rm -rf "$root"
    [ -z "$part" ] || rm -rf "$part"
    [ -z "$lock" ] || rmdir "$lock" 2>/dev/null
    root=
    part=
    lock=
}
trap clean EXIT

receipt() { # KIND CODE SENTENCE
    text=$(printf '%s' "$3" | tr -c 'A-Za-z0-9 .,:;()/_+=%@-' '?')
    printf 'eventflock: %s\n' "$text" >&2
    sed -e "s|@KIND@|$1|" -e "s|@CODE@|$2|" -e "s|@SAY@|$text|" -e "s|@HOST@|$host|g" \
        -e "s|@STARTED@|$started|" -e "s|\"@JOB@\"|$job|" -e "s|@PIECE@|$piece|" "$template" > "$result.part" && mv "$result.part" "$result"
}

died() { # CODE SENTENCE
    receipt pool "$1" "$2"
    exit $DIED
}

# A signal that comes while the archives are unpacked ends this script at the next step.
check_stopped() {
    [ -z "$stopped" ] || died lost "The job on $host was told to stop (SIG$stopped) before it had begun."
}

unsuitable() {
    check_stopped # then it is no fault of the node
    [ -z "$root" ] || rm -rf "$root" # it may be the disk that is full
    receipt node "" "The node $host cannot run this: $1"
    exit $UNSUITABLE
}

[ -z "$refused" ] || unsuitable "$refused"

forward() {
    stopped=$1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
for signal in TERM INT HUP QUIT XCPU USR1 USR2 ALRM; do
    # The name is wanted now, not later.
    # shellcheck disable=SC2064
    trap "forward $signal" $signal
done
trap '' PIPE # whoever reads what is printed may go away

# --- the handshake ------------------------------------------------------------------------------

demand() { # NAME: the rest of its line; an archive that cannot be read gives nothing
    printf '%s\n' "$demands" | sed -n "s|^$1 ||p"
}

verify() { # FILE: compare with the digest in its name, where the node has the means
    name=${1##*/}
    digest=${name#*-}
    digest=${digest%%.*}
    if command -v sha256sum > /dev/null 2>&1 && [ ${#digest} = 32 ]; then
        case $(sha256sum < "$1" 2>/dev/null) in
            "$digest"* | "") ;; # it may be there, and not run
            *) unsuitable "$name was damaged on its way here" ;;
        esac
    fi
}

has() {
    for flag; do
        case $flags in *" $flag "*) ;; *) return 1 ;; esac
    done
}

cpu_level() { # of the x86-64 psABI; 9 where it cannot be found out
    flags=" $(sed -n 's/^flags[^:]*: //p' /proc/cpuinfo 2>/dev/null | sed 1q) "
    if [ "$flags" = "  " ]; then echo 9
    elif ! has cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3; then echo 1
    elif ! has avx avx2 bmi1 bmi2 f16c fma abm movbe xsave; then echo 2
    elif ! has avx512f avx512bw avx512cd avx512dq avx512vl; then echo 3
    else echo 4
    fi
}

node_glibc() { # its version, or nothing
    [ -x "$loader" ] || return 0
    found=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p')
    [ -n "$found" ] || found=$(ldd --version 2>/dev/null | sed -n '1s/.* \([0-9][0-9]*\.[0-9][0-9]*\)$/\1/p')
    [ -n "$found" ] || found=$("$loader" --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p')
    printf '%s' "$found"
}

older() { # whether version $1 is older than $2; no version is older than any
    [ -n "$1" ] || return 0
    [ "${1%%.*}" -lt "${2%%.*}" ] && return 0
    minor1=${1#*.}
    minor2=${2#*.}
    [ "${1%%.*}" -eq "${2%%.*}" ] && [ "${minor1%%.*}" -lt "${minor2%%.*}" ]
}

check_needs() { # the lines of `demands` against this node; sets glibc_needed, glibc_by, kilobytes
    needs=$(demand machine)
    [ -z "$needs" ] || [ "$needs" = "$machine" ] || unsuitable "needs $needs, it is $machine"
    needs=$(demand level)
    level=${needs%% *}
    if [ "${level:-1}" -gt 1 ] && [ "$machine" = x86_64 ]; then
        [ "$(cpu_level)" -ge "$level" ] ||
            unsuitable "needs x86-64-v$level (${needs#* }), it is v$(cpu_level)"
    fi
    needs=$(demand glibc)
    if [ -n "$needs" ] && ! older "${needs%% *}" "$glibc_needed"; then
        glibc_needed=${needs%% *}
        glibc_by=${needs#* }
    fi
    fallbacks="$fallbacks $(demand libraries)"
    needs=$(demand unpacked)
    [ -n "$tree" ] || kilobytes=$((kilobytes + (${needs:-0} + 1023) / 1024))
}

# --- an environment that other jobs on this node have unpacked ------------------------------------

is_whole() { # TREE: where files that nobody reads are removed one by one, some may be missing
    [ -f "$1/whole" ] || return 1
    [ ! -w "$cache" ] || [ "$(count "$1")" = "$(cat "$1/whole")" ]
}
count() { # FOLDER: the files in it, but for those that Python may have added
    find "$1" -type f ! -path '*/__pycache__/*' ! -name whole | wc -l
}

open_cache() { # sets tree, if it is there
    if [ "$cache" = auto ]; then
        cache=/tmp/eventflock-$(id -u)
        [ ! -w /var/tmp ] || cache=/var/tmp/eventflock-$(id -u)
    fi
    case $cache in
        /*) ;;
        *) unsuitable "the cache of the node, $cache, is no absolute path" ;;
    esac
    (umask 077 && mkdir -p "$cache") 2>/dev/null
    # What other users could have put there is not run. (A tree of the site cannot be written at all.)
    # shellcheck disable=SC3067 # dash and busybox have -O, too
    if [ ! -d "$cache" ] || { [ -w "$cache" ] && [ ! -O "$cache" ]; }; then
        echo "cache     $cache cannot be used: it cannot be made, or belongs to somebody else"
        cache=
    elif is_whole "$cache/$kept"; then
        tree=$cache/$kept
    fi
}

kept=${environment##*/} # the name of its tree
kept=${kept%.tar}
[ -z "$cache" ] || open_cache
for file in "$environment" "$code"; do
    [ -r "$file" ] || unsuitable "$file is not there"
    [ -n "$tree" ] && [ "$file" = "$environment" ] || verify "$file"
done
glibc_needed=0.0
glibc_by=
fallbacks=
kilobytes=0
demands=$(gzip -dc "$code" 2>/dev/null | tar -xOf - code/demands 2>/dev/null)
check_needs
demands=$(tar -xOf "$environment" demands 2>/dev/null)
check_needs
layers=$(demand layer)
beside=${environment%/*}
[ -n "$tree" ] || for name in $layers; do
    [ -r "$beside/$name" ] || unsuitable "$beside/$name is not there"
    verify "$beside/$name"
done
program=$(demand program)
loader=$(demand loader)
bundled=$(demand bundled)
places=$(demand certificates)
[ -n "$program" ] || unsuitable "${environment##*/} cannot be unpacked: tar and gzip are needed"

version=$(node_glibc)
libc="its own glibc $version"
case "$glibc_mode" in
    always) use_bundled=yes ;;
    *) if older "$version" "$glibc_needed"; then use_bundled=yes; else use_bundled=no; fi ;;
esac
if [ $use_bundled = yes ]; then
    [ "$glibc_mode" != never ] ||
        unsuitable "needs GLIBC_$glibc_needed ($glibc_by), it has ${version:-none}, and the bundled glibc is switched off"
    libc="the bundled glibc, as its own is ${version:-missing}"
fi

if [ "$python" = site ]; then # its own glibc has to do for the packages
    needs=$(demand packages)
    ! older "$version" "${needs%% *}" ||
        unsuitable "needs GLIBC_${needs%% *} (${needs#* }) for --python site, it has ${version:-none}"
    python=$(demand python)
fi

suits() { # FOLDER: whether this job can unpack and run there; else says in words why not
    # Programs find their libraries in a list, which these would cut.
    case $1 in *:* | *\;*) return 1 ;; esac
    [ -n "$1" ] && [ -d "$1" ] && [ -w "$1" ] || return 1
    free=$(df -Pk "$1" 2>/dev/null | { read -r _; read -r _ _ _ kb _; printf '%s' "${kb:-}"; })
    if [ -n "$free" ] && [ "$free" -lt "$kilobytes" ]; then
        words=${words:-needs $((kilobytes / 1024 + 1)) MB in $1, $((free / 1024)) MB free}
        return 1
    fi
    probe=$1/.eventflock-$$
    { printf '#!/bin/sh\n' > "$probe" && chmod 755 "$probe" && "$probe"; } 2>/dev/null
    runs=$?
    rm -f "$probe"
    [ $runs = 0 ] || words=${words:-programs cannot be run in $1}
    return $runs
}
words=
scratch=
for folder in "${_CONDOR_SCRATCH_DIR:-}" "${TMPDIR:-}" "$(pwd)" /tmp; do
    suits "$folder" && { scratch=$folder; break; }
done
[ -n "$scratch" ] || unsuitable "${words:-no folder can be used: no scratch, no TMPDIR, not $(pwd)}"
# The folder that HTCondor made for this job alone; the job may also run within another one's.
if [ "$scratch" = "${_CONDOR_SCRATCH_DIR:-}" ] && [ -f "$scratch/.job.ad" ] &&
    [ "$(cd "$scratch" && pwd -P)" = "$(pwd -P)" ]; then
    theirs=yes
fi

echo "started   $started"
echo "host      $host ($(uname -s) $(uname -r) $machine), with $libc"
echo "user      $user ($(id -u))"
echo "directory $(pwd), unpacking in $scratch"

# --- unpacking ----------------------------------------------------------------------------------

root=$(mktemp -d "$scratch/eventflock-XXXXXX") || unsuitable "$scratch cannot be written"
quoted() { printf '%s' "$1" | sed "s/'/'\\\\''/g"; }
unpack() { tar -xof - -C "$1" 2>&1; }
why() { # NAME FOLDER: what tar said first is the reason
    words="$1 cannot be unpacked in $2: $(printf '%s\n' "$words" | sed 1q)"
    return 1
}
find_libraries() { # FOLDER: of an environment; sets loader and libraries
    libraries=$1/native
    [ $use_bundled = no ] || { libraries=$1/glibc:$1/native; loader=$1/$bundled; }
}
[ $use_bundled = no ] || unset LD_PRELOAD # it is for the node's glibc
# Nothing of the node's or the user's own Python gets in.
for variable in $(env | sed -n 's/^\(PYTHON[A-Z0-9_]*\)=.*/\1/p'); do
    unset "$variable"
done

python() { # FOLDER ARGUMENT...: the interpreter of an environment, before all of it is there
    folder=$1
    shift
    "$loader" --library-path "$libraries" "$folder/$program" -S -s -P "$@"
}
unpack_environment() { # FOLDER: leaves in words why not
    words=$(tar -xOf "$environment" boot.tgz | gzip -dc | unpack "$1") || why boot.tgz "$1" || return
    find_libraries "$1"
    check_stopped
    python "$1" -c '' || { words="programs cannot be run in ${1%/*}"; return 1; }
    # shellcheck disable=SC2086 # names without blanks
    words=$(tar -xOf "$environment" rest.tar.zst |
        python "$1" "$1/libexec/boot.py" "$1" "$beside" $layers 2>&1) || why rest.tar.zst "$1"
}

is_locked() { # whether another job unpacks it just now; if nobody does, this one will
    if ! mkdir "$cache/$kept.lock" 2>/dev/null; then
        # Who holds it touches it every few seconds, unless it has died.
        [ -z "$(find "$cache/$kept.lock" -prune -mmin +1 2>/dev/null)" ] || rmdir "$cache/$kept.lock"
        return 0
    fi
    lock=$cache/$kept.lock
    (while kill -0 $$ && [ -d "$lock" ]; do
        touch "$lock"
        sleep 3
    done) > /dev/null 2>&1 &
    return 1
}
fill_cache() { # sets tree, unless the cache cannot have it: then this job unpacks for itself
    [ -w "$cache" ] || return 0
    while is_locked; do
        sleep 1
        check_stopped
    done
    if ! is_whole "$cache/$kept"; then
        part=$cache/.$kept.$host.$$
        discard "$cache/$kept"
        # What nobody has used for two days makes room.
        find "$cache" -mindepth 1 -maxdepth 1 -name '*env-*' -mtime +1 | while read -r old; do
            discard "$old"
        done
        if ! mkdir "$part" || ! unpack_environment "$part"; then
            echo "cache     $cache cannot be filled: ${words:-it cannot be written}"
            discard "$part"
            part=
            unlock
            return 0
        fi
        files=$(count "$part")
        echo "$files" > "$part/whole"
        chmod -R a-w "$part" # jobs share it
        mv "$part" "$cache/$kept"
        part=
    fi
    unlock
    tree=$cache/$kept
}
unlock() {
    rmdir "$lock" 2>/dev/null
    lock=
}
discard() {
    [ ! -e "$1" ] || { chmod -R u+w "$1" && rm -rf "$1"; }
}

link_below() { # FOLDER TARGET: each file by itself, as others will lie beside it
    (cd "$1" && find . -type d) | while read -r folder; do
        mkdir -p "$2/$folder"
        find "$1/$folder" -mindepth 1 -maxdepth 1 ! -type d -exec ln -s {} "$2/$folder" \;
    done
}
link_tree() { # whole folders, but for those that the code adds to
    added=" $(gzip -dc "$code" | tar -tf - | sed -n 's|^packages/\([^/]*\)/.*|\1|p; s|^\([^/]*\)/.*|\1|p' | sort -u | tr '\n' ' ')"
    mkdir "$root/packages"
    for entry in "$tree"/* "$tree"/packages/*; do
        base=${entry##*/}
        target=$root/${entry#"$tree/"}
        case $base in packages | whole | code) continue ;; esac
        case $added in
            *" $base "*) [ ! -d "$entry" ] || { link_below "$entry" "$target"; continue; } ;;
        esac
        ln -s "$entry" "$target"
    done
}

[ -z "$cache" ] || [ -n "$tree" ] || fill_cache
if [ -n "$tree" ]; then
    touch -c "$tree" 2>/dev/null
    echo "cache     $tree"
    link_tree
    find_libraries "$root"
else
    unpack_environment "$root" || unsuitable "$words"
fi
words=$(gzip -dc "$code" | unpack "$root") || why "${code##*/}" "$root" || unsuitable "$words"
mkdir -p "$root/bin"
# Through the loader, so that libraries are found without LD_LIBRARY_PATH, which children inherit.
cat > "$root/bin/python3" <<EOF
#!/bin/sh
exec '$(quoted "$loader")' --library-path '$(quoted "$libraries")' '$(quoted "$root/$program")' "\$@"
EOF
chmod 755 "$root/bin/python3"
cp "$root/bin/python3" "$root/bin/python"

# --- running ------------------------------------------------------------------------------------

check_stopped
setup=$root/code/setup.sh
[ $use_setup = yes ] && [ -f "$setup" ] || setup=
echo "unpacked  $(($(date +%s) - clock)) s after the start"
libc=own
[ $use_bundled = no ] || libc=bundled
set -- "$root" "$places" $libc "$setup" "$python" "$fallbacks" "$@"
/bin/sh "$root/libexec/start.sh" "$@" < /dev/null &
child=$!
[ -z "$stopped" ] || forward "$stopped" # it came just before
while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2>/dev/null || break # else a signal ended the waiting, not the program
done
[ ! -s "$root/refused" ] || unsuitable "$(cat "$root/refused")"
if [ -n "$setup" ]; then
    tail -n 20 "$root/setup.log" 2>/dev/null | sed 's/^/set-up    /'
    said=$(sed '/^[[:space:]]*$/d' "$root/setup.log" 2>/dev/null | tail -n 1)
    [ -e "$root/ready" ] || unsuitable "its set-up ended with exit status $status: ${said:-it printed nothing}"
fi
echo "ended     $(date -u +%Y-%m-%dT%H:%M:%SZ), exit status $status"
if [ ! -s "$result" ]; then
    if [ "$status" -gt 128 ]; then
        why="was killed by signal $((status - 128))"
        [ "$status" != 137 ] || why="$why (often: out of memory)"
    else
        why="ended with exit status $status"
    fi
    code=exit:$status
    [ -z "$stopped" ] || { why="$why after SIG$stopped"; code=lost; }
    died "$code" "The worker process on $host $why and left no receipt."
fi
exit "$status"
