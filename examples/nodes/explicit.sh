#!/usr/bin/env bash
# One fit over several machines that no batch system manages: one process on each, started by ssh.
#
#   HOSTS="node1 node2" ./explicit.sh lens.toml --out RUN [more options of giga fit]
#
# The machines see the folder this is started in under the same path, with the same giga. The first is the
# coordinator: the others reach its PORT. A host called localhost is this machine, without ssh.
set -euo pipefail

read -r -a hosts <<< "${HOSTS:?names of the machines, as HOSTS=\"node1 node2\"}"
read -r -a giga <<< "${GIGA:-giga}"
port=${PORT:-61440}

started=()
for k in "${!hosts[@]}"; do
    run=("${giga[@]}" fit "$@" --coordinator "${hosts[0]}:$port" --processes "${#hosts[@]}" --process "$k")
    if [ "${hosts[$k]}" = localhost ]; then
        "${run[@]}" &
    else
        ssh "${hosts[$k]}" "cd $(printf %q "$PWD") && $(printf '%q ' "${run[@]}")" &
    fi
    started+=($!)
done

status=0
for process in "${started[@]}"; do
    wait "$process" || status=$?
done
exit "$status"
