"""Many lenses with one configuration."""

from giga.jobs.fleet.plan import Fleet as Fleet
from giga.jobs.fleet.plan import check_data as check_data
from giga.jobs.fleet.plan import plan_fleet as plan_fleet
from giga.jobs.fleet.run import run_fleet as run_fleet
from giga.jobs.fleet.run import write_gallery as write_gallery
