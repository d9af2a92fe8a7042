"""The command line. `giga.cli.base` is what the commands share; each command has a file of its own.

A new command is a file here, and its name in the import below.
"""

from giga.cli import bench, calibrate, compare, demo, doctor, fit, fit_many, plot, train
from giga.cli.base import app as app

COMMANDS = (demo, fit, fit_many, plot, compare, doctor, bench, calibrate, train)  # importing them registers them
