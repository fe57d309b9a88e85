"""`bpengine bench`: the engine and its peers side by side.

bench_command: the options. bench_files: what is written.
"""

from bpengine.cli.commands.bench.bench_command import HELP, bench

__all__ = ["HELP", "bench"]
