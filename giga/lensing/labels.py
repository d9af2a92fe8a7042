"""How parameters are written in pictures: path names to mathematical labels and units."""

from collections.abc import Sequence

SYMBOLS = {
    "theta_E": r"\theta_{\rm E}", "gamma": r"\gamma", "e1": "e_1", "e2": "e_2", "center_x": "x", "center_y": "y",
    "gamma1": r"\gamma_{{\rm ext},1}", "gamma2": r"\gamma_{{\rm ext},2}", "s_scale": "s", "Rs": r"R_{\rm s}",
    "alpha_Rs": r"\alpha_{R_{\rm s}}", "R_sersic": r"R_{\rm eff}", "n_sersic": "n", "beta": r"\beta", "amp": "A",
    "kappa": r"\kappa", "noise_scale": r"s_{\rm noise}",
    "half_size": "L", "sd": r"\sigma", "length": r"\ell", "nu": r"\nu",
}
ARCSEC = ("theta_E", "center_x", "center_y", "s_scale", "Rs", "alpha_Rs", "R_sersic", "beta", "half_size", "length")
PARTS = {"mass": "lens", "lens_light": "light", "source_light": "source"}


def unit(name: str) -> str:
    """Unit of a parameter by its path name, an empty string for none.

    >>> unit("mass.0.theta_E"), unit("mass.0.gamma")
    ('arcsec', '')
    """
    return "arcsec" if name.rpartition(".")[2] in ARCSEC else ""


def with_unit(label: str, name: str) -> str:
    """A label with the unit of its parameter in brackets."""
    return f"{label} [{unit(name)}]" if unit(name) else label


def is_mass(name: str) -> bool:
    """Whether a path name belongs to the mass."""
    return name.partition(".")[0] == "mass"


def labels(names: Sequence[str]) -> dict[str, str]:
    """Mathematical label of each parameter, without its unit.

    A superscript tells the lens from its light and from the source, and a number the profiles of one
    kind that share a symbol; a symbol that only one mass parameter has stands alone.

    >>> labels(["mass.0.theta_E", "mass.0.e1", "source_light.0.e1"])["mass.0.e1"]
    '$e_1^{\\\\rm lens}$'
    """
    out = {}
    for name in names:
        part, _, rest = name.partition(".")
        if part in SYMBOLS:  # one of a list of numbers, not a profile's
            several = len([other for other in names if other.partition(".")[0] == part]) > 1
            out[name] = f"${SYMBOLS[part]}{f'^{{{int(rest) + 1}}}' if several else ''}$"
            continue
        index, _, field = rest.rpartition(".")
        symbol = SYMBOLS.get(field, r"{{\rm {}}}".format((field or name).replace("_", r"\,")))
        alike = [other for other in names if other.rpartition(".")[2] == field]
        siblings = [other for other in alike if other.partition(".")[0] == part]
        if part == "mass" and len(alike) == 1 or part not in PARTS:
            superscript = ""
        else:
            number = rf"\,{int(index) + 1}" if len(siblings) > 1 and index.isdigit() else ""
            superscript = rf"^{{\rm {PARTS[part]}{number}}}"
        out[name] = f"${symbol}{superscript}$"
    return out
