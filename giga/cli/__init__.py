"""The command line. `giga.cli.base` is what the commands share; each command has a file of its own.

A new command is a file here, and its name in the import below.
"""

from giga.cli import (
    audit,
    bench,
    calibrate,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    fit,
    fit_many,
    import_,
    init,
    inject,
    plot,
    predict,
    separate,
    simulate,
    train,
)
from giga.cli.base import app as app
from giga.cli.surveys import aggregate, grade, loop, search

# Importing them registers them.
COMMANDS = (demo, init, audit, fit, fit_many, plot, compare, doctor, bench, calibrate, simulate, inject, train,
            evaluate, separate, predict, search, grade, aggregate, loop, export, import_)
