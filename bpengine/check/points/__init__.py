"""The two points of a check: `subject_checks` judges at the point given and at the one that `perturb` finds."""
