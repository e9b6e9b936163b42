"""An archive in other libraries: ``torch`` data sets, an ``xarray`` backend, and a ``zarr`` codec.

Each module is imported by its full name, or found by its library through an entry point.
"""
