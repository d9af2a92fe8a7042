"""Files that are whole or not there; see `giga.atomic`, which lies lower so that the zoo can write too."""

from giga.atomic import write_atomically as write_atomically
from giga.atomic import write_bytes as write_bytes
from giga.atomic import write_text as write_text
