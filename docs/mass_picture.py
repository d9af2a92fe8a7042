"""Draw docs/images/mass.png: convergence of the round profiles, all of which deflect by 1 arcsec at 1 arcsec."""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

from giga import mass

LENSES = {
    "SIS": mass.SIS(theta_E=1.0), "EPL, gamma = 1.5": mass.EPL(theta_E=1.0, gamma=1.5),
    "NIE, s_scale = 0.1": mass.NIE(theta_E=1.0, s_scale=0.1),
    "SPEMD, gamma = 2.4, s_scale = 0.1": mass.SPEMD(theta_E=1.0, gamma=2.4, s_scale=0.1),
    "PJaffe, Ra = 0.1, Rs = 2": mass.PJaffe(sigma0=1.0, Ra=0.1, Rs=2.0), "NFW, Rs = 5": mass.NFW(Rs=5.0, alpha_Rs=1.0),
    "TNFW, r_trunc = 3": mass.TNFW(Rs=5.0, alpha_Rs=1.0, r_trunc=3.0),
    "GNFW, gamma_in = 1.6": mass.GNFW(Rs=5.0, alpha_Rs=1.0, gamma_in=1.6),
    "Hernquist, Rs = 0.5": mass.Hernquist(sigma0=1.0, Rs=0.5),
    "Sersic, n = 4, R_sersic = 1": mass.Sersic(k_eff=1.0, R_sersic=1.0, n_sersic=4.0),
    "Gaussian, sigma = 0.5": mass.Gaussian(amp=1.0, sigma=0.5),
}


def main() -> None:
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    r = np.geomspace(0.02, 10.0, 120)
    with jax.enable_x64(True):
        for k, (label, lens) in enumerate(LENSES.items()):
            at_one = float(lens.deflection(np.ones(1), np.zeros(1))[0][0])
            axes.loglog(r, lens.convergence(r, 0.0 * r) / at_one, label=label, ls=("-", "--", ":")[k // 4], lw=1.4)
    axes.set(xlabel="r [arcsec]", ylabel="convergence", ylim=(1e-3, 60.0), xlim=(r[0], r[-1]))
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(Path(__file__).parent / "images" / "mass.png", dpi=110)


if __name__ == "__main__":
    main()
