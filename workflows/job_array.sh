#!/usr/bin/env bash
# A site on a cluster, second way: jobs that share the tiles and know of each other only by the run directory. Nothing
# listens on the network, and no job submits others. Resumed by submitting it again.
#
#   workflows/job_array.sh cluster_configs/slurm.yaml RUN_DIR JOBS TILE...
#
# Each job is of the size of a worker job in the cluster file. When its wall time is over it queues up again, until its
# share is complete. `hsi-dask status RUN_DIR` tells how far all of them are.
set -euo pipefail
cluster=$1 run=$2 jobs=$3
shift 3
hsi-dask submit "$@" --out "$run" --config "$(dirname "$0")/site.yaml" --cluster "$cluster" --array "$jobs"
