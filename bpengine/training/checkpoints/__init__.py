"""Checkpoints: a fit that is killed goes on from its last one, with the same numbers to the last bit.

run_folder: what a user asks for. fit_identity: which fit it is, so that another one is refused. checkpoint_file: one file,
with a SHA-256 for each array. store: the files of one fit in a folder. writer: the thread that writes them. signals: who asks
the process to end. checkpointer: what the training loop holds. beginning: where a fit begins. folder_contents: what is in a
folder.
"""
