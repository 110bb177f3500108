"""`import hsi_dask.xarray` puts `.hsi` on xarray's objects; so does the first use of any function of `hsi_dask`."""

import hsi_dask.show.accessor  # noqa: F401  it registers itself with xarray
