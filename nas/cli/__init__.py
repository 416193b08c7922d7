"""The command line: flags, configuration, tables, progress and error messages."""
