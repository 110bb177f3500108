"""Endmember files -> spectra: an earlier run, Zarr, CSV tables, ENVI libraries; units and classes sorted out."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.errors import EndmemberError, FileFormatError, RunError
from hsi_dask.io import endmember_store
from hsi_dask.io.classes import Classes, find_classes
from hsi_dask.io.delimited import clean, shown
from hsi_dask.io.installed_libraries import library_path
from hsi_dask.io.libraries import MATERIAL, NAME, RawSpectra, library_files, names_of, read_library
from hsi_dask.io.reflectance import Units, to_fractions, to_nanometres
from hsi_dask.io.spectral_tables import read_table
from hsi_dask.schema import ENDMEMBER, WAVELENGTH, endmember_numbers

logger = logging.getLogger(__name__)


def read_spectra(
    path: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    *,
    units: Units | None = None,
    material_column: str | None = None,
) -> xr.DataArray:
    """Read endmember spectra, or a library of hundreds to thousands with their classes.

    Parameters
    ----------
    path : path
        A run directory or its `endmembers.zarr`; a CSV table; an ENVI spectral library (.sli with its .hdr); or
        "earthlib", the library of that package, if it is installed.
        A CSV table has wavelengths in its first column and a spectrum in each further one, under a line of names;
        or pairs of columns, wavelengths and spectrum; or, as EcoSIS exports them, a spectrum in each row and
        wavelengths as the names of columns, where other columns say what it is, and the one called `name`, or else the
        first of them, names it. Lines that begin with # are skipped; decimals may have a comma where ; separates them.
    names : sequence of str, optional
        Which spectra, in this order, by name (upper and lower case are the same) or by number, where none has it as its
        name. None takes all.
    units : {"fraction", "percent", "10000"}, optional
        The unit of reflectance. None takes what the file states, or else judges by the values.
    material_column : str, optional
        The column that tells the class of each spectrum: of a CSV table with a spectrum in each row, or of the table
        beside an ENVI library (`lib.csv` for `lib.sli`), whose rows are those of the library in order, or are matched
        by name. None takes a column called material, class, category, land cover or LEVEL_2, if there is one. Of a run
        "name": endmembers of one name are a material.

    Returns
    -------
    xarray.DataArray
        (endmember, wavelength) float32 reflectance, ascending nm, NaN where the file has no value or one that no
        reflectance can have (below -0.5 or above 3, such as -9999), or marks the band as bad (`bbl`).
        Coordinates: `name` and, if classes are told, `material` of each endmember (text; empty where there is none);
        `fwhm` if the file tells. Endmembers are numbered from 1; those of an earlier run keep their numbers unless
        `names` chooses.
        attrs: `names`, `source`; `units_from` says which units were taken and why, `material_from` where classes are
        from. Wavelengths up to 100 are micrometres. Units of reflectance are judged outside the water-vapour windows
        by medians: bright values up to 1.5 are fractions, up to 150 percent, else out of 10000.

    Raises
    ------
    EndmemberError
        The file cannot be read as any of these, contradicts its units, or lacks a name or the column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "library.csv")
    ...     _ = file.write_text("name,class,450,550,850\\noak,tree,3,8,45\\nlawn,grass,4,9,50\\n")
    ...     library = read_spectra(file)
    >>> library.material.values.tolist()
    ['tree', 'grass']
    >>> library.attrs["units_from"]
    'wavelengths in nm by their values; reflectance in percent by its values: outside water vapour they reach 50'
    """
    where = library_path(path)
    if not where.exists():
        raise EndmemberError(f"{where} does not exist; give a run directory, endmembers.zarr, a .csv or a .sli file")
    try:
        spectra = _read(where, units, material_column)
    except FileFormatError as error:
        raise EndmemberError(str(error)) from error
    except (OSError, RunError) as error:
        raise EndmemberError(f"{where} cannot be read as spectra: {error}") from error
    return spectra if names is None else _chosen(spectra, names, where)


def _read(path: Path, units: Units | None, material_column: str | None) -> xr.DataArray:
    if path.is_dir():
        if units or (material_column or NAME).strip().lower() != NAME:
            raise EndmemberError(
                f"{path} is a run, with its own units and classes; leave out units and material_column, or give "
                "material_column name, by which its endmembers' names are materials"
            )
        return _from_zarr(path, named=material_column is not None)
    suffix = path.suffix.lower()
    if suffix in {".csv", ".txt", ".tsv"}:
        raw = read_table(path)
        return _sorted_out(path, raw, units, find_classes(path, raw, None, material_column))
    if suffix in {".sli", ".hdr"}:
        raw, beside = read_library(path), library_files(path)[1].with_suffix(".csv")
        return _sorted_out(path, raw, units, find_classes(path, raw, beside, material_column))
    raise EndmemberError(
        f"{path} is no file of spectra that is known; give a run directory, endmembers.zarr, a .csv or a .sli file"
    )


def _chosen(spectra: xr.DataArray, names: Sequence[str], path: Path) -> xr.DataArray:
    """The spectra asked for, by name, or by number where none has that name; numbered from 1."""
    known = spectra[NAME].values.tolist()
    if not names:
        raise EndmemberError(f"no name is given of the {len(known)} spectra in {path}; name some, or none to take all")
    lower = [name.strip().lower() for name in known]
    counts, places = Counter(lower), {name: n for n, name in enumerate(lower)}
    numbers = {str(number): n for n, number in enumerate(endmember_numbers(spectra).tolist())}
    places = {**{number: n for number, n in numbers.items() if number not in counts}, **places}
    at = [_place(name, counts, places, known, path) for name in names]
    found = spectra.isel({ENDMEMBER: at}).assign_coords({ENDMEMBER: np.arange(1, len(at) + 1)})
    found.attrs["names"] = [known[n] for n in at]
    return found


def _place(name: str, counts: Mapping[str, int], places: Mapping[str, int], known: list[str], path: Path) -> int:
    import difflib

    wanted = name.strip().lower()
    if wanted in places and counts.get(wanted, 1) == 1:
        return places[wanted]
    if wanted in counts:
        raise EndmemberError(f"{path} has {counts[wanted]} spectra named {shown(name)}; rename all but one")
    near = difflib.get_close_matches(wanted, counts, n=1)
    hint = f"did you mean {shown(known[places[near[0]]])}?" if near else f"it has {_some(known)}"
    raise EndmemberError(f"{path} has no spectrum named {shown(name)}; {hint}")


def _some(names: list[str]) -> str:
    return ", ".join(name[:60] for name in names[:5]) + (" and so on" if len(names) > 5 else "")


def _from_zarr(path: Path, *, named: bool) -> xr.DataArray:
    folder = path / endmember_store.ENDMEMBERS if (path / endmember_store.ENDMEMBERS).is_dir() else path
    spectra = endmember_store.read_endmembers(folder)
    kept = {name: spectra[name].variable for name in (ENDMEMBER, WAVELENGTH, "fwhm") if name in spectra.coords}
    material = spectra[MATERIAL].values.tolist() if MATERIAL in spectra.coords else None
    material = names_of(spectra) if named else material
    attrs = {"source": str(path), "units_from": "an earlier run"}
    return _described(spectra.values, kept, names_of(spectra), material, attrs)


def _sorted_out(path: Path, raw: RawSpectra, units: Units | None, classes: Classes | None) -> xr.DataArray:
    """Fractions on ascending nanometres."""
    unit, wavelengths_by = to_nanometres(raw.unit, raw.wavelength, path)
    order = np.argsort(raw.wavelength)
    grid = raw.wavelength[order] * unit
    names = [clean(name) or f"endmember_{n}" for n, name in enumerate(raw.names, 1)]
    values, values_by = to_fractions(raw.values[:, order], grid, names, path, raw.scale, units)
    coords = {WAVELENGTH: xr.Variable(WAVELENGTH, grid)}
    if raw.fwhm is not None:
        fwhm = raw.fwhm[order]
        known = (fwhm > 0) & (fwhm <= np.ptp(raw.wavelength))  # in nm where the wavelengths are in um: unknown
        coords["fwhm"] = xr.Variable(WAVELENGTH, np.where(known, fwhm, np.nan) * unit)
    attrs = {"source": str(path), "units_from": f"{wavelengths_by}; {values_by}"}
    if classes:
        attrs["material_from"] = classes.told
    logger.info("%s: %s", path, "; ".join(list(attrs.values())[1:]))
    return _described(values, coords, names, classes.material if classes else None, attrs)


def _described(
    values: NDArray[Any], coords: dict[Any, Any], names: list[str], material: list[str] | None, attrs: dict[str, Any]
) -> xr.DataArray:
    coords.setdefault(ENDMEMBER, xr.Variable(ENDMEMBER, np.arange(1, len(names) + 1)))
    coords[NAME] = xr.Variable(ENDMEMBER, np.array(names, dtype=object))
    if material is not None:
        coords[MATERIAL] = xr.Variable(ENDMEMBER, np.array(material, dtype=object))
    spectra = xr.DataArray(values.astype(np.float32), coords, (ENDMEMBER, WAVELENGTH))
    schema.describe_coordinates({name: c.variable for name, c in spectra.coords.items()})
    return schema.describe(spectra, "endmembers", names=names, **attrs)
