"""Several processes on the command line. launch: the command that starts them. shards: their shards, and how they end."""
