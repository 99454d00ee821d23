#!/bin/sh
# Starts Python in an unpacked environment: with which variables, and after which set-up of the site.
#
#   sh start.sh ROOT PLACES LIBC SETUP PYTHON LIBRARIES ARGUMENT...
#
# ROOT       where the environment is
# PLACES     where nodes have certificates, with blanks between
# LIBC       own or bundled
# SETUP      a shell file to source first, or empty
# PYTHON     packed, or the version that the node's must have, as 3.11
# LIBRARIES  those of the packages, with blanks between, for the node's Python to fall back on
#
# It leaves ROOT/ready once the set-up is done, or ROOT/refused, with a sentence, if Python cannot be
# started. `launch.sh` ran before it in this environment, and waits for it.

set -u
again=no
[ "$1" != --again ] || { again=yes; shift; } # the set-up is done
root=$1
places=$2
libc=$3
setup=$4
python=$5
libraries=$6
shift 6
quoted() { printf '%s' "$1" | sed "s/'/'\\\\''/g"; }

ours=$root/bin
[ "$python" = packed ] || ours=
[ ! -d "$root/headers" ] || ours=$root/headers/bin${ours:+:$ours}

prepare() { # what is there before the set-up
    mkdir -p "$root/tmp"
    TMPDIR=$root/tmp
    export TMPDIR
    if [ ! -d "${HOME:-}" ] || [ ! -w "${HOME:-}" ]; then
        HOME=$root/tmp
        export HOME
    fi
    [ -n "${LANG:-}${LC_ALL:-}${LC_CTYPE:-}" ] || { LANG=C.UTF-8; export LANG; }
    : "${OMP_NUM_THREADS:=1}" "${OPENBLAS_NUM_THREADS:=1}" "${MKL_NUM_THREADS:=1}"
    export OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS
    [ "$python" = packed ] || return 0
    PATH=$ours:$PATH # of the packed Python from here on
    PYTHONNOUSERSITE=1
    PYTHONHASHSEED=0
    export PATH PYTHONNOUSERSITE PYTHONHASHSEED
    if [ -z "${SSL_CERT_FILE:-}${SSL_CERT_DIR:-}" ] && [ -f "$root/certificates.pem" ]; then
        usual=no
        for place in $places; do
            [ ! -e "$place" ] || usual=yes
        done
        [ $usual = yes ] || { SSL_CERT_FILE=$root/certificates.pem; export SSL_CERT_FILE; }
    fi
    if [ -z "${OPENSSL_MODULES:-}" ] && [ -f "$root/native/legacy.so" ]; then
        OPENSSL_MODULES=$root/native # OpenSSL looks for it by name, where it was when it was built
        export OPENSSL_MODULES
    fi
}

source_setup() { # ARGUMENT...: ends in this script again, with the variables that the set-up leaves
    words="--again '$(quoted "$root")' '$(quoted "$places")' $libc '$(quoted "$setup")' $python '$libraries'"
    for word; do words="$words '$(quoted "$word")'"; done
    cat > "$root/bin/start" <<EOF
unset EVENTFLOCK_SETUP EVENTFLOCK_START EVENTFLOCK_PRINTED
cd '$(quoted "$(pwd)")' || exit 1
exec /bin/sh '$(quoted "$root/libexec/start.sh")' $words
EOF
    EVENTFLOCK_SETUP=$setup
    EVENTFLOCK_START=$root/bin/start
    EVENTFLOCK_PRINTED=$root/setup.log
    export EVENTFLOCK_SETUP EVENTFLOCK_START EVENTFLOCK_PRINTED
    shell=$(command -v bash) || shell=/bin/sh # most of them are written for bash
    # shellcheck disable=SC2016 # it is the other shell that reads these; no arguments: a set-up may look at them
    exec "$shell" -c '. "$EVENTFLOCK_SETUP" > "$EVENTFLOCK_PRINTED" 2>&1 && exec /bin/sh "$EVENTFLOCK_START"'
}

keep_python_out() { # of the set-up; what it offers comes after the packed packages
    EVENTFLOCK_SITE=${PYTHONPATH:-}
    for name in $(env | sed -n 's/^\(PYTHON[A-Z0-9_]*\)=.*/\1/p'); do
        unset "$name"
    done
    [ "$libc" = own ] || unset LD_PRELOAD
    PATH=$ours:$PATH
    PYTHONNOUSERSITE=1
    PYTHONHASHSEED=0
    export EVENTFLOCK_SITE PATH PYTHONNOUSERSITE PYTHONHASHSEED
}

refuse() {
    printf '%s' "$1" > "$root/refused"
    exit 85
}

find_python() { # of the node, or of its set-up; the packed packages come before its own
    program=$(command -v python3) || program=$(command -v python) ||
        refuse "has no python3 in PATH${setup:+, also after its set-up}"
    version=$("$program" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1 | tail -n 1)
    [ "$version" = "$python" ] ||
        refuse "its $program is Python $version, and the packages are for Python $python"
    EVENTFLOCK_SITE=${PYTHONPATH:-}
    EVENTFLOCK_SITE_PYTHON=$python
    EVENTFLOCK_LIBRARIES=$libraries
    PYTHONPATH=$root/libexec/front${PYTHONPATH:+:$PYTHONPATH}
    PYTHONNOUSERSITE=1
    PYTHONHASHSEED=0
    [ -z "$ours" ] || PATH=$ours:$PATH
    export EVENTFLOCK_SITE EVENTFLOCK_SITE_PYTHON EVENTFLOCK_LIBRARIES
    export PATH PYTHONPATH PYTHONNOUSERSITE PYTHONHASHSEED
    echo "python    $program"
}

if [ $again = no ]; then
    prepare
    [ -z "$setup" ] || source_setup "$@"
fi
: > "$root/ready"
if [ "$python" != packed ]; then
    find_python
    exec "$program" -u "$@"
fi
[ $again = no ] || keep_python_out
exec "$root/bin/python3" -u -P "$@"
