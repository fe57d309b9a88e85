"""One unit in one step: its sum, its gradient, its parameters and their update.

explain      explain(): computes the numbers
unit_result  UnitResult: the numbers
explanation  Explanation: text, table, rows, JSON
text, tables  how they are written
update       old value, slope, step, new value
"""
