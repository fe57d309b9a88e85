"""Features: the kind of each column of a table, learned from the training rows, and its encoding as inputs of a network.

feature_set: `Features`. learned_columns: the kinds of columns. learning: the kind of a column. dates: dates written as text.
target_kinds: encoding and decoding of targets. encoding: tables to arrays, block by block.
"""
