"""Several processes on the command line. launch: the command that starts them. shards: what they share, and how they end."""
