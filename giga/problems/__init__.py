"""Fixed problems: a prior, a true scene, and the images simulated of it, for examples, benchmarks and calibration."""

from giga.problems.base import Problem as Problem
from giga.problems.base import simulate as simulate
from giga.problems.foundry import EXPOSURES as EXPOSURES
from giga.problems.foundry import F140W_ZERO_POINT as F140W_ZERO_POINT
from giga.problems.foundry import FOUNDRY_EXPOSURE as FOUNDRY_EXPOSURE
from giga.problems.foundry import FOUNDRY_PIXEL_SCALE as FOUNDRY_PIXEL_SCALE
from giga.problems.foundry import foundry128 as foundry128
from giga.problems.foundry import foundry_contaminants as foundry_contaminants
from giga.problems.foundry import foundry_kernel as foundry_kernel
from giga.problems.foundry import foundry_prior as foundry_prior
from giga.problems.foundry import foundry_rms as foundry_rms
from giga.problems.foundry import foundry_truth as foundry_truth
from giga.problems.gigalens import DEMO60_TRUTH as DEMO60_TRUTH
from giga.problems.gigalens import demo60 as demo60
from giga.problems.gigalens import demo_prior as demo_prior
from giga.problems.gigalens import gigalens80 as gigalens80
from giga.problems.gigalens import gigalens_prior as gigalens_prior
from giga.problems.gigalens import moffat_psf as moffat_psf
