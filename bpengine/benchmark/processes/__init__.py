"""How a contender runs: in a process of its own (worker), which is asked (process) and kept (pool); rss reads its memory."""
