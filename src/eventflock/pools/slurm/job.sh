# shellcheck shell=sh disable=SC2154,SC2086 # what stands above it in the script sets the rest
# One task of the array: it does the job that has its line in items.txt.
set -u
wave=${SLURM_SUBMIT_DIR:-.}
task=${SLURM_ARRAY_TASK_ID:-0}
if ! cd "$wave" || ! [ -r items.txt ]; then
    echo "eventflock: $(uname -n) does not see $wave" >&2
    exit 85
fi
read -r job shard line names <<EOF
$(sed -n "$((task + 1))p" items.txt)
EOF
report=$wave/slurm-$task.log
fail() { # what slurmstepd says stands in the same file
    echo "eventflock: $1 on $(uname -n)" >&2
    exit 74
}

scratch=${scratch:-${SLURM_TMPDIR:-${TMPDIR:-/tmp}}}
# A job that was killed at once could not clean up: after a day, the next one does.
find "$scratch" -mindepth 2 -maxdepth 2 -path '*/eventflock-*/.job' -user "$(id -u)" -mtime +0 2>/dev/null |
    while read -r old; do
        read -r pid < "$old"
        kill -0 "$pid" 2>/dev/null || rm -rf "${old%/.job}"
    done
work=$(mktemp -d "$scratch/eventflock-XXXXXX") || fail "no folder can be made in $scratch"
echo $$ > "$work/.job"
trap 'rm -rf "$work"' EXIT
# The launcher is told to stop by Slurm itself; what it leaves is still brought home.
trap : TERM INT HUP USR1 USR2 XCPU
cd "$work" || fail "$work cannot be entered"
for name in template.json $(echo "$names" | tr , ' '); do
    case $name in
        input-*) $bring "$wave/$name" "$name" ;;
        *) ln -s "$wave/$name" "$name" ;;
    esac || fail "$name cannot be brought to $work"
done
TMPDIR=$work
export TMPDIR
set -- "$wave/launch.sh"
[ -z "$container" ] || set -- "$wave/container.sh" "$container" "$@"
sh "$@" --join --job "$job" $flags "$wave/$environment" "$wave/$code" \
    template.json result.zip -m eventflock.worker.once "jobs-$shard.jsonl" result.zip "$line" \
    > "$wave/job-$job.log"
status=$?
if [ -s result.zip ]; then
    part=$wave/.job-$job.${SLURM_JOB_ID:-0}.part
    for pause in 0 5 20; do # a shared disk may be full, or away, for a moment
        sleep $pause
        cp result.zip "$part" && mv "$part" "$wave/job-$job.zip" && break
        rm -f "$part"
        [ $pause != 20 ] || fail "the result cannot be copied to $wave"
    done
fi
[ -s "$report" ] || rm -f "$report"
exit $status
