"""The command line: each verb parses, calls one function and shows what came of it. Nothing else prints or exits."""

from importlib import import_module

from hsi_dask.cli.app import main

__all__ = ["main"]

# in the order in which --help lists them
for _verbs in (
    *("demo", "download", "info", "run", "endmembers", "library", "clusters", "state", "results", "compare"),
    *("places", "configuration", "warm"),
):
    import_module(f"hsi_dask.cli.{_verbs}")
