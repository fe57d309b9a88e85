"""Synthetic sets of any size: generate draws them block by block; recipes, plane and teacher say how a row is drawn."""
