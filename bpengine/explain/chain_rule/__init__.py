"""The chain rule of one parameter, path by path from the loss.

paths        paths(): the public function
accumulate   the sum over all paths, without enumerating them
best_first   the largest paths, by a priority queue
path_result  Paths, Path, Factor, and their text
"""
