"""Independent methods for the same gradient: `run` runs each that applies, and compares.

`autodiff`, `complex_step`, `finite_differences`: the derivatives; `sampling`: single elements and random directions;
`unstated_kinks`: which values are correct at a kink that no kernel states.
"""
