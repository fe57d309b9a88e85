"""Sets that are known by name: textbook (small enough for paper) and real (measured, from other Python packages)."""
