"""The peers: one file each. They import their own libraries, and are loaded in a worker's process only."""
