"""The commands of `bpengine`, one file each; bench_files, train_figure and explain/ hold what only one of them needs."""
