"""Runs: the plan, its members, the folder that keeps them, executors, and what comes back from disk.

- `plan`: what a run consists of. `member`: one member from its start to its end. `recorder`: what it writes down.
- `run_folder`: the folder of a run. `executors`: members one after another, in processes, or over a Ray cluster.
- `ensemble`: all members of one plan. `design_points`: many plans that differ in parameters.
- `results`: a run read back. `paired_differences`: what two runs differ in.
"""
