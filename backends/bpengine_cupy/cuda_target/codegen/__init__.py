"""A step's launches as CUDA C: the three forms of a pass, and the text they make together.

passes        what the forms have in common
flat          thread after thread over elements
rows          rows looked at as a whole
columns       sums of columns
program_text  the whole text, and the calls of a step
"""
