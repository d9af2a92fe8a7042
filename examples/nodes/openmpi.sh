#!/usr/bin/env bash
# One fit over the processes that Open MPI starts. MPI itself is not used: mpirun only starts the processes.
#
#   MPIRUN="mpirun --hostfile hosts --map-by ppr:1:node --bind-to none" ./openmpi.sh lens.toml --out RUN [more options]
#
# mpirun runs on the first machine of the host file, where process 0 will be; if it does not, COORDINATOR=HOST:PORT
# names that machine.
set -euo pipefail

read -r -a mpirun <<< "${MPIRUN:-mpirun}"
read -r -a giga <<< "${GIGA:-giga}"
"${mpirun[@]}" "${giga[@]}" fit "$@" --coordinator "${COORDINATOR:-$(hostname):61440}" --resume
