"""Points where a function has no derivative.

`kinks`: elements at or near a kink that a kernel states; `ops`: kernel calls that record such kinks or are moved off them;
`nearby`: the same problem at a random point close by, for kinks that make the given point undecidable.
"""
