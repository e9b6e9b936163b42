"""The project beside its peers: sizes, speeds, memory, kills. Not part of the package."""
