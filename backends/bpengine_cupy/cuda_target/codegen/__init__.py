"""A step's launches as CUDA C: the three forms of a pass, and the complete program text.

passes        common parts of the forms
flat          threads over elements
rows          whole rows
columns       sums of columns
program_text  the whole text, and the calls of a step
"""
