"""Ordinary tables: samples of every kind, files that are damaged, and how well they train."""
