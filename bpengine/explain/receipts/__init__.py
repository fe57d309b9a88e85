"""Receipts: a training step as JSON lines, and their verification with plain NumPy.

write           a step as lines
verify          every line derived again; verified: the result
entries         the parts of one line, and their validation
evaluate        a kernel's formula in extended precision, and whether a recorded array agrees with it
backward_check  is the written backward pass the reverse of the forward pass?
"""
