"""The cost model of several nodes, and its page."""
