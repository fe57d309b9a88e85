"""From gradients to new parameters: the update rule, gradients added up over parts of a batch, layer-by-layer updates."""
