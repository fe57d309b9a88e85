"""The processes of contenders: worker runs in the process, process sends it requests, pool keeps it; rss reads its memory."""
