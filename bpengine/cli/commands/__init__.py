"""The commands of `bpengine`: one file each, and bench/, explain/ and train/, which are larger.

check_report: how `check` and `compare` print.
"""
