"""Simulation: populations of lenses, surveys, noise, and batches made in one compiled program."""
