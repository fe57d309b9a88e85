"""Passes that process a row at a time: arrays of few columns, and reductions of rows fused with the operations around them.

row_width   which reductions of rows a pass includes, and the row that each number per row belongs to
row_forms   instructions for all elements of a row at once; sums and largest elements in NumPy's order
row_text    such a pass as LLVM's instructions
"""
