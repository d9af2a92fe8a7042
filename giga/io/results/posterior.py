"""posterior.nc: the samples of a fit in the layout of ArviZ InferenceData, as netCDF."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from giga.inference.amplitudes import Solved
from giga.inference.derived import Derived
from giga.inference.result import Result
from giga.io.errors import InputError
from giga.lensing.labels import unit
from giga.runtime.atomic import write_bytes

AMPLITUDES, DERIVED, CHECKS = "amplitudes", "derived", "checks"
GROUPS = ("posterior", "sample_stats", "prior", "observed_data", "vi")
TOTAL = "log_likelihood_total"  # of all pixels together, with its normalisation; one number a draw


def write_posterior(path: str | PathLike[str], result: Result) -> Path:
    """Write posterior.nc; its variables are the path names of the parameters.

    Groups: posterior, sample_stats, prior, observed_data, and vi for the samples of the variational posterior;
    amplitudes, draws of solved ones that go with some draws of the posterior, as its coordinates tell; and
    log_likelihood, of every fitted pixel in some of the draws, if the fit was asked for it (`inference.n_pointwise`),
    as `arviz.loo` needs it. `arviz.from_netcdf` of either generation reads it, and
    `xarray.open_datatree`. Derived numbers are in the group derived, discrepancies of replicated data in checks.
    """
    observed = {}
    for k, observation in enumerate(result.observations):
        dims = (f"y_{k}", f"x_{k}")
        observed[f"image_{k}"] = (dims, observation.image, {"units": "ct/s"})
        observed[f"mask_{k}"] = (dims, np.asarray(observation.mask, np.int8), {"long_name": "1 where fitted"})
    attributes = {"inference_library": "giga", "seed": result.seed,
                  **{f"version_{name}": version for name, version in result.versions.items()}}
    groups = {
        "posterior": _samples(result.samples),
        "sample_stats": _samples({**result.sample_stats, TOTAL: result.log_likelihood}),
        "prior": _samples(_one_chain(result.prior_samples)),
        "observed_data": xr.Dataset(observed),
        "vi": _samples(_one_chain(result.vi_samples)),
    } | ({} if result.pointwise is None else {"log_likelihood": _pixels(result)})
    if result.amplitudes.draws:
        groups[AMPLITUDES] = _amplitudes(result.amplitudes)
    if result.derived is not None and result.derived.draws:
        groups[DERIVED] = _derived(result.derived)
    if predicted := result.info.get("checks", {}).get("predictive"):
        groups[CHECKS] = xr.Dataset({f"{name}_{kind}": ("replica", np.asarray(row[kind], float))
                                     for name, row in predicted.items() for kind in ("observed", "replicated")})
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes)}
                                 | {f"/{name}": group.assign_attrs(attributes) for name, group in groups.items()})
    # Made in memory: a full disk in the middle of it would leave HDF5 with a file that it cannot close.
    return write_bytes(path, bytes(tree.to_netcdf(engine="h5netcdf")))


def read_posterior(path: str | PathLike[str]) -> dict[str, dict[str, np.ndarray]]:
    """Read the groups of posterior.nc as arrays by name, those of single pixels left out.

    Earlier versions had the total of the pixels as a group named log_likelihood, which is read as it is now.

    Raises:
        InputError: Missing, not netCDF, or without one of its groups.
    """
    if not Path(path).is_file():
        raise InputError(path, "", "no such file", "the samples of a finished fit")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            groups = {name: {str(key): array.values for key, array in tree[name].data_vars.items()} for name in GROUPS}
            if AMPLITUDES in tree:
                found = tree[AMPLITUDES]
                groups[AMPLITUDES] = {str(key): array.values for key, array in found.data_vars.items()} \
                    | {"draw": found["draw"].values}
            if DERIVED in tree:
                groups[DERIVED] = {str(key): array.values for key, array in tree[DERIVED].data_vars.items()} \
                    | {"draw": tree[DERIVED]["draw"].values}
            if CHECKS in tree:
                groups[CHECKS] = {str(key): array.values for key, array in tree[CHECKS].data_vars.items()}
            if TOTAL not in groups["sample_stats"] and "log_likelihood" in tree:  # of a file before there were pixels
                groups["sample_stats"][TOTAL] = tree["log_likelihood"]["log_likelihood"].values
            return groups
    except (OSError, KeyError, ValueError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "the samples of a finished fit") from error


def _samples(samples: Mapping[str, Any]) -> xr.Dataset:
    """Arrays of shape (chains, draws) as a data set with units."""
    arrays = {name: np.asarray(values) for name, values in samples.items()}
    shape = next(iter(arrays.values())).shape if arrays else (0, 0)
    return xr.Dataset({name: (("chain", "draw"), values, {"units": unit(name)} if unit(name) else {})
                       for name, values in arrays.items()},
                      coords={"chain": np.arange(shape[0]), "draw": np.arange(shape[1])})


def _amplitudes(solved: Solved) -> xr.Dataset:
    """Draws of solved amplitudes, shape (chains, draws), or (chains, draws, terms) of profiles with several."""
    arrays = {}
    for name, draws in solved.draws.items():
        dims = ("chain", "draw") if draws.ndim == 2 else ("chain", "draw", f"{name}.term")
        arrays[name] = (dims, draws, {"units": solved.units[name]} if solved.units[name] else {})
    chains = len(next(iter(solved.draws.values())))
    return xr.Dataset(arrays, coords={"chain": np.arange(chains), "draw": solved.of})


def _derived(derived: Derived) -> xr.Dataset:
    """Derived numbers of some draws, shape (chains, draws)."""
    arrays = {name: (("chain", "draw"), draws, {"units": derived.units[name]} if derived.units[name] else {})
              for name, draws in derived.draws.items()}
    return xr.Dataset(arrays, coords={"chain": np.arange(len(next(iter(derived.draws.values())))), "draw": derived.of})


def _pixels(result: Result) -> xr.Dataset:
    """Log-likelihood of every fitted pixel in some of the draws, with where the pixels lie."""
    assert result.pointwise is not None
    draws, values = result.pointwise
    arrays: dict[str, Any] = {}
    places: dict[str, Any] = {"chain": np.arange(values[0].shape[0]), "draw": draws}
    for k, (observation, one) in enumerate(zip(result.observations, values, strict=True)):
        arrays[f"image_{k}"] = (("chain", "draw", f"pixel_{k}"), one)
        for axis, index in zip("yx", np.nonzero(observation.mask), strict=True):
            places[f"{axis}_{k}"] = (f"pixel_{k}", index)
    return xr.Dataset(arrays, coords=places)


def _one_chain(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(values)[None] for name, values in samples.items()}
