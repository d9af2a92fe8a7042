"""`python -m giga.cli` is `giga`."""

from giga.cli import app

if __name__ == "__main__":
    app(prog_name="giga")
