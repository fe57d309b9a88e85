"""Attacks: seeded, random, for as long as they are let; a short round of each is a test."""
