"""What to compute: a typed model and its YAML. Where to compute is `hsi_dask.cluster`."""

from hsi_dask.config.run import RunConfig
from hsi_dask.config.sections import AreaConfig, BandConfig, EndmemberConfig, MaskConfig

__all__ = ["AreaConfig", "BandConfig", "EndmemberConfig", "MaskConfig", "RunConfig"]
