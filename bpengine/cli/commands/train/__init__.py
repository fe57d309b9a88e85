"""`bpengine train`: from a table to a trained network, its scores and a model file.

training_command: the command. training_options: its options. row_parts: training, validation and test rows. training_run: a
run. score_table: its scores.
"""

from bpengine.cli.commands.train.training_command import HELP, train

__all__ = ["HELP", "train"]
