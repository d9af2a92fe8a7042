#!/usr/bin/env bash
# One fit over several nodes of a SLURM cluster: one process on each node, which uses all that the node gives it.
#
#   sbatch slurm.sh lens.toml --out RUN [more options of giga fit]
#
# For GPUs take one # off the line below, or say it to sbatch: sbatch --gpus-per-node=4 slurm.sh ...
# A job that is put back into the queue, or submitted again, goes on from its checkpoint.
#SBATCH --job-name=giga
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
##SBATCH --gpus-per-node=4
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# A minute before the time is up giga is told to stop, and writes its checkpoint.
#SBATCH --signal=INT@60
set -euo pipefail

read -r -a giga <<< "${GIGA:-giga}"
srun "${giga[@]}" fit "$@" --resume
