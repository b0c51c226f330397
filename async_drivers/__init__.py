"""The drivers, one for each async mode; loaded by name, never with the package."""
