"""Features: what each column of a table is, learned from the training rows, and how it becomes inputs of a network.

feature_set: `Features`. learned_columns: the kinds of columns. learning: which kind a column is. dates: text that is dates.
target_kinds: targets, there and back. encoding: tables to arrays, block by block.
"""
