"""giga: strong gravitational lensing in JAX. A lens is a pytree, and so is its prior and its posterior."""

from giga.runtime.untouched import untouched

with untouched():
    from giga.bayes.posterior import Posterior as Posterior
    from giga.bayes.prior import Prior as Prior
    from giga.imaging.grid import Grid as Grid
    from giga.imaging.observation import Observation as Observation
    from giga.imaging.psf import PSF as PSF
    from giga.inference.pipeline import fit as fit
    from giga.inference.pipeline import search as search
    from giga.inference.result import Found as Found
    from giga.inference.result import Result as Result
    from giga.inference.settings import FitConfig as FitConfig
    from giga.io.images.config import ObservationConfig as ObservationConfig
    from giga.io.images.fits import load_observation as load_observation
    from giga.lensing.scene import Scene as Scene
    from giga.light import Sersic as Sersic
    from giga.light import Shapelets as Shapelets
    from giga.mass import EPL as EPL
    from giga.mass import NFW as NFW
    from giga.mass import SIE as SIE
    from giga.mass import Shear as Shear
    from giga.runtime.cache import enable_cache as enable_cache

__version__ = "0.1.0"
