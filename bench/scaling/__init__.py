"""What training on several nodes costs, as formulas, and how far they are from what was measured.

model     the formulas
measure   the engine's exchange between 2 to 4 processes on shaped links, beside the model
page      the tables and the figure of docs/scaling.md
"""
