"""`bpengine bench`: the engine and its peers side by side.

bench_command: the options. bench_files: the files of a run.
"""

from bpengine.cli.commands.bench.bench_command import HELP, bench

__all__ = ["HELP", "bench"]
