"""What is checked: a scalar function with its hand-written gradient (`problem`), made from what a user gives (`subjects`).

`kernel_calls`: one call of a kernel as a problem; `layerwise`: a network's step layer by layer.
"""
