"""The commands, one file each: ``data check`` is the function ``data_check`` of ``data_check.py``."""

COMMANDS = {
    "train-supernet": "Train a once-for-all supernet; the same command resumes it.",
    "search": "Find the measured Pareto front for one target or several.",
    "export": "Write a subnet as a timm model and as files that run.",
    "finetune": "Train a subnet or a whole front further, and export it.",
    "evaluate": "Accuracy of an exported file, a candidate, an architecture.",
    "estimate": "Latency, size, MACs and memory, without running anything.",
    "profile": "Measure latencies, here or on a board: a target file.",
    "spaces": "List the search spaces, or where a run's accuracy goes.",
    "targets": "List the targets, and how far to trust their latencies.",
    "report": "Write what a run found as one HTML page that works offline.",
    "runs": "List the runs and where they stand, newest first.",
    "doctor": "Look at this machine: each problem with its fix.",
    "data check": "Decode every image, and say what training would get.",
}
"""Name -> its line in ``nas --help``, in that order."""
GROUPS = {"data": "Look at data sets."}
"""First word of names of two words -> its line in ``nas --help``."""
