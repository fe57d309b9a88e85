"""The two points of a check, the one given and the perturbed one.

`subject_check` runs every oracle at both and makes the report; `network_check` adds what only a network has; `perturb` finds
the perturbed point.
"""
