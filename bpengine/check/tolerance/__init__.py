"""How far two correct gradients may differ: `stochastic_rounding` measures it, `agreement` compares with it."""
