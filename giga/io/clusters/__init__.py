"""Clusters of galaxies as fields that sources are injected into."""
