#!/usr/bin/env bash
# A site on a cluster, first way: a driver on a login node, workers as jobs. Resumed by running it again.
#
#   workflows/login_node.sh cluster_configs/slurm.yaml RUN_DIR TILE...
#
# Keep it alive without a terminal with tmux or nohup; or let `hsi-dask submit`, with the same words as `hsi-dask run`,
# make a job of the driver too, which queues up again when its wall time is over.
set -euo pipefail
cluster=$1 run=$2
shift 2
hsi-dask cluster check "$cluster" --out "$run"
hsi-dask run "$@" --out "$run" --config "$(dirname "$0")/site.yaml" --cluster "$cluster"
hsi-dask verify "$run"
