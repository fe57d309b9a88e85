"""The object of a check: a scalar function with its hand-written gradient (`problem`), made from a subject (`subjects`).

`kernel_calls`: one call of a kernel as a problem; `layerwise`: a network's step layer by layer.
"""
