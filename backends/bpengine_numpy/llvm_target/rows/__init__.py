"""Passes that take a row at a time: arrays of few columns, and reductions of rows among the operations around them.

row_width   which reductions of rows a pass takes, and which numbers of a row stay with it
row_forms   instructions for all elements of a row at once; sums and largest elements in NumPy's order
row_text    such a pass as LLVM's instructions
"""
