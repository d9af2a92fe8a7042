"""Fixed problems: a prior, a true scene, and the images simulated of it, for examples, benchmarks and calibration."""

from giga.jobs.problems.base import Problem as Problem
from giga.jobs.problems.base import simulate as simulate
from giga.jobs.problems.foundry import EXPOSURES as EXPOSURES
from giga.jobs.problems.foundry import F140W_ZERO_POINT as F140W_ZERO_POINT
from giga.jobs.problems.foundry import FOUNDRY_EXPOSURE as FOUNDRY_EXPOSURE
from giga.jobs.problems.foundry import FOUNDRY_PIXEL_SCALE as FOUNDRY_PIXEL_SCALE
from giga.jobs.problems.foundry import foundry128 as foundry128
from giga.jobs.problems.foundry import foundry_contaminants as foundry_contaminants
from giga.jobs.problems.foundry import foundry_kernel as foundry_kernel
from giga.jobs.problems.foundry import foundry_prior as foundry_prior
from giga.jobs.problems.foundry import foundry_rms as foundry_rms
from giga.jobs.problems.foundry import foundry_truth as foundry_truth
from giga.jobs.problems.gigalens import DEMO60_TRUTH as DEMO60_TRUTH
from giga.jobs.problems.gigalens import demo60 as demo60
from giga.jobs.problems.gigalens import demo_prior as demo_prior
from giga.jobs.problems.gigalens import gigalens80 as gigalens80
from giga.jobs.problems.gigalens import gigalens_prior as gigalens_prior
from giga.jobs.problems.gigalens import moffat_psf as moffat_psf
