#!/bin/sh
# The `c++` of a packed environment with cling. Asked for its folders of headers, it names those that are
# packed. Everything else is done by the compiler of the node, if there is one.
here=$(cd "${0%/*}" && pwd)
case " $* " in
    *" -E -v "*)
        echo '#include <...> search starts here:'
        for folder in "${here%/bin}"/*c++; do
            echo " $folder"
        done
        echo 'End of search list.'
        exit 0 ;;
esac
IFS=:
for folder in $PATH; do
    # shellcheck disable=SC3013 # dash and busybox have -ef, too
    if [ -x "$folder/c++" ] && ! [ "$folder/c++" -ef "$0" ]; then
        unset IFS
        exec "$folder/c++" "$@"
    fi
done
echo "c++: this node has no compiler" >&2
exit 127
