"""Files of a run: atomic writes, the run directory, typed records, random streams."""
