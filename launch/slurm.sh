#!/bin/bash
# Train a recipe on a Slurm cluster. Run it from the root of the checkout, with linnaea[train] in the environment:
#
#     sbatch launch/slurm.sh RECIPE --out DIR                       # 4 nodes of 8 GPUs
#     sbatch --nodes 1 --gpus-per-node 4 launch/slurm.sh RECIPE --out DIR
#
# The arguments after the recipe are passed to `linnaea train`. All nodes must see DIR. The job continues from its newest
# checkpoint whenever it starts: after the time limit (it queues itself again five minutes before), after a lost node, or
# when it is submitted again.

#SBATCH --job-name=linnaea-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=128
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=linnaea-train-%j.log
#SBATCH --signal=B:USR1@300

set -euo pipefail

if [ $# -lt 1 ]; then
    echo "usage: sbatch launch/slurm.sh RECIPE --out DIR [options of linnaea train]" >&2
    exit 2
fi

gpus=${SLURM_GPUS_ON_NODE:-${SLURM_GPUS_PER_NODE:-8}}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
# threads of torch; the recipe's n_threads decode images
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}

# the signal is sent only to this script (B:), and it interrupts `wait`
trap 'echo "the time limit is near: queued again"; scontrol requeue "$SLURM_JOB_ID"' USR1

srun --kill-on-bad-exit=1 torchrun \
    --nnodes="$SLURM_JOB_NUM_NODES" \
    --nproc-per-node="$gpus" \
    --rdzv-id="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" \
    --rdzv-backend=c10d \
    --rdzv-endpoint="$head:$port" \
    --max-restarts=3 \
    -m linnaea train "$@" --resume &
wait $!
