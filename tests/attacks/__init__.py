"""Attacks: seeded generators of what nobody should give the program, run for as long as is asked."""
