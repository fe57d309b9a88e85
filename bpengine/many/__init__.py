"""Many models at once: one call trains seeds, learning rates, penalties and folds; see `fit_many`.

grid: what is trained. folds: which rows each fold holds out. workers: the threads that train. many_fits: models and table.
"""

from bpengine.many.many_fits import ManyFits, OneFit
from bpengine.many.training import fit_many

__all__ = ["ManyFits", "OneFit", "fit_many"]
