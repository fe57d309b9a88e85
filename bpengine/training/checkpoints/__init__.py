"""Checkpoints: a fit that is killed continues from its last one, with the same numbers to the last bit.

run_folder: the user's settings. fit_identity: what identifies a fit, so that the checkpoint of another is refused.
checkpoint_file: one file, with a SHA-256 for each array. store: the files of one fit in a folder. writer: the thread that
writes them. signals: requests to end the process. checkpointer: decides when to write, called by the training loop.
beginning: the state that a fit begins with. folder_contents: the list of a folder's checkpoints.
"""
