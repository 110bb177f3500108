"""Where to compute: a file, and from it workers on this machine, at an address or from a batch scheduler."""

from hsi_dask.cluster.config import ClusterConfig
from hsi_dask.cluster.connection import connect

__all__ = ["ClusterConfig", "connect"]
