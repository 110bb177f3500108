"""python -m hsi_dask"""

from hsi_dask.cli import main

if __name__ == "__main__":
    main()
