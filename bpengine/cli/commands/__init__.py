"""The commands of `bpengine`: one file each, and explain/, which is larger.

bench_files: what `bench` writes. check_report: how `check` and `compare` print.
"""
