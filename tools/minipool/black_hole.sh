#!/bin/sh
# Start a node on which every job fails at once, in the pool: DOMAIN SLOTS
# It is a second startd beside the first: all that they would share gets a place of its own. The
# key of the family session is known only to what the master starts.
set -eu
cd /
host=black-hole.$1
grep -q "$host" /etc/hosts || echo "127.0.0.1 $host" >> /etc/hosts
execute=/var/lib/condor/black-hole
install -d -o condor -g condor $execute
logs=/var/log/condor
exec env _CONDOR_USER_JOB_WRAPPER=/bin/false _CONDOR_NUM_CPUS="$2" \
    _CONDOR_NETWORK_HOSTNAME="$host" _CONDOR_EXECUTE=$execute \
    _CONDOR_STARTD_LOG=$logs/BlackHoleLog _CONDOR_STARTER_LOG=$logs/BlackHoleStarterLog \
    _CONDOR_STARTD_ADDRESS_FILE=$logs/.black_hole_address \
    _CONDOR_SEC_USE_FAMILY_SESSION=False \
    /usr/sbin/condor_startd -f -local-name black_hole
