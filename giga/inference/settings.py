"""The settings of a fit, which the section [inference] of a configuration holds."""

from __future__ import annotations

from dataclasses import dataclass

from giga.inference.chains.hmc import HMCConfig
from giga.inference.modes.modes import ModesConfig
from giga.inference.search.map import MapConfig
from giga.inference.smc.smc import SMCConfig
from giga.inference.variational.vi import VIConfig


@dataclass(frozen=True)
class FitConfig:
    """How a fit searches and samples. The defaults suit a galaxy-scale lens on any machine.

    Attributes:
        map_method: "lm" (screened multi-start Levenberg-Marquardt) or "adam" (GIGA-Lens's, to compare).
        n_screen: Prior draws that are screened.
        n_starts: Draws kept and improved.
        n_finalists: Starts kept after the first round.
        map_steps: Steps in a round.
        map_rounds: Most rounds for the finalists, which go on while one still climbs.
        vi_method: "natural" (natural gradients from the curvature at the mode) or "pathfinder" (multi-path).
        vi_steps: Natural-gradient steps of the variational stage.
        vi_samples: Samples in each.
        vi_axis: Parameter along which the Gaussian is conditional: "auto", "none", or its name.
        n_chains: HMC chains. R-hat compares chains, so the draws that it asks for grow with their number.
        n_block: Iterations in a compiled block, between looks at the diagnostics.
        n_pilot: Blocks in each of the two pilot rounds that whiten; a third, of one block, sets the step.
        min_iterations: Fewest iterations kept, a chain.
        max_iterations: Most iterations kept, a chain.
        target_ess: Bulk effective sample size wanted of every parameter.
        target_tail_ess: Tail effective sample size wanted of every parameter; 0 asks for none.
        target_rhat: Largest R-hat wanted.
        target_accept: Acceptance that the step size aims at.
        guide: Whether the steps of a trajectory may follow a coarser posterior where that is near enough; what is
            sampled is the posterior all the same.
        mode_floor: Smallest share of the evidence from which a separate mode is sampled.
        n_bridge: Proposals of each mode for the evidence.
        n_predictive: Draws whose replicated data are compared with the data; 0 leaves this out.
        derived: Whether the numbers for a paper are computed, see `giga.inference.derived`.
        n_pointwise: Draws, over all chains, whose log-likelihood is kept pixel by pixel, as leave-one-out
            cross-validation needs it; 0 leaves this out.
        sampler: "hmc" (chains from every mode) or "smc" (tempered sequential Monte Carlo, which finds modes by itself
            and costs far more evaluations).
        smc_start: Where its particles start: "prior", or "map", the widened maps of the modes that the search found.
        smc_groups: Independent groups of particles, whose spread is the error of evidence and weights.
        smc_particles: Particles in a group.
        smc_moves: HMC trajectories between two steps of the temperature.
    """

    map_method: str = "lm"
    n_screen: int = 512
    n_starts: int = 64
    n_finalists: int = 16
    map_steps: int = 5
    map_rounds: int = 40
    vi_method: str = "natural"
    vi_steps: int = 12
    vi_samples: int = 64
    vi_axis: str = "auto"
    n_chains: int = 4
    n_block: int = 50
    n_pilot: int = 2
    min_iterations: int = 100
    max_iterations: int = 3000
    target_ess: float = 1000.0
    target_tail_ess: float = 400.0
    target_rhat: float = 1.01
    target_accept: float = 0.9
    guide: bool = False
    mode_floor: float = 1e-3
    n_bridge: int = 512
    n_predictive: int = 200
    derived: bool = True
    n_pointwise: int = 0
    sampler: str = "hmc"
    smc_start: str = "prior"
    smc_groups: int = 8
    smc_particles: int = 128
    smc_moves: int = 5

    def __post_init__(self) -> None:
        if self.map_method not in ("lm", "adam"):
            raise ValueError(f"inference.map_method: expected lm or adam, got {self.map_method!r}")
        if self.vi_method not in ("natural", "pathfinder"):
            raise ValueError(f"inference.vi_method: expected natural or pathfinder, got {self.vi_method!r}")
        if self.sampler not in ("hmc", "smc"):
            raise ValueError(f"inference.sampler: expected hmc or smc, got {self.sampler!r}")
        if self.smc_start not in ("prior", "map"):
            raise ValueError(f"inference.smc_start: expected prior or map, got {self.smc_start!r}")
        if self.smc_groups < 4:
            raise ValueError("inference.smc_groups: expected at least 4 (their spread is the error), "
                             f"got {self.smc_groups}")
        if self.smc_particles < 8:
            raise ValueError(f"inference.smc_particles: expected at least 8, got {self.smc_particles}")
        for name in ("n_screen", "n_starts", "n_finalists", "map_steps", "map_rounds", "vi_steps", "n_chains",
                     "n_pilot", "n_block", "max_iterations", "n_bridge", "smc_moves"):
            if getattr(self, name) < 1:
                raise ValueError(f"inference.{name}: expected a positive integer, got {getattr(self, name)}")
        if self.n_chains < 4:
            raise ValueError(f"inference.n_chains: expected at least 4 (R-hat compares chains), got {self.n_chains}")
        if self.vi_samples < 2 or self.vi_samples % 2:
            raise ValueError(f"inference.vi_samples: expected an even number (antithetic pairs), got {self.vi_samples}")
        if not self.n_finalists <= self.n_starts <= self.n_screen:
            raise ValueError(f"inference: expected n_finalists <= n_starts <= n_screen, got {self.n_finalists}, "
                             f"{self.n_starts}, {self.n_screen}")
        if not 0 <= self.min_iterations <= self.max_iterations:
            raise ValueError(f"inference.min_iterations: expected 0 to max_iterations = {self.max_iterations}, "
                             f"got {self.min_iterations}")
        if not 0.0 < self.target_accept < 1.0:
            raise ValueError(f"inference.target_accept: expected a number between 0 and 1, got {self.target_accept}")
        for name in ("n_predictive", "n_pointwise"):
            if getattr(self, name) < 0:
                raise ValueError(f"inference.{name}: expected 0 or more, got {getattr(self, name)}")
        if not 0.0 < self.mode_floor < 1.0:
            raise ValueError(f"inference.mode_floor: expected a number between 0 and 1, got {self.mode_floor}")
        for name in ("target_ess", "target_tail_ess"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"inference.{name}: expected a number of 0 or more, got {getattr(self, name)}")
        if not self.target_rhat > 1.0:
            raise ValueError(f"inference.target_rhat: expected a number above 1, got {self.target_rhat}")

    @property
    def map(self) -> MapConfig:
        """Settings of the MAP stage."""
        return MapConfig(n_screen=self.n_screen, n_starts=self.n_starts, n_finalists=self.n_finalists,
                         steps=self.map_steps, rounds=self.map_rounds)

    @property
    def vi(self) -> VIConfig:
        """Settings of the variational stage."""
        return VIConfig(steps=self.vi_steps, n_samples=self.vi_samples, axis=self.vi_axis)

    @property
    def modes(self) -> ModesConfig:
        """What counts as a mode."""
        return ModesConfig(floor=self.mode_floor, n_bridge=self.n_bridge)

    @property
    def smc(self) -> SMCConfig:
        """Settings of sequential Monte Carlo."""
        return SMCConfig(n_groups=self.smc_groups, n_particles=self.smc_particles, n_moves=self.smc_moves,
                         ess=self.target_ess, tail_ess=self.target_tail_ess, rhat=self.target_rhat)

    @property
    def hmc(self) -> HMCConfig:
        """Settings of the HMC stage."""
        return HMCConfig(n_chains=self.n_chains, n_pilot=self.n_pilot, n_block=self.n_block, n_min=self.min_iterations,
                         n_max=self.max_iterations, ess=self.target_ess, tail_ess=self.target_tail_ess,
                         rhat=self.target_rhat, target_accept=self.target_accept)
