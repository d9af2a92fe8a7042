"""Presets of surveys, every number with its source.

Counts are electrons, so that gains are one, but for KiDS, whose calibrated images have the zero point 30.
A background that is not published as a sky brightness is derived here from what is. Images are taken as
means of exposures whose pixels are independent; for the correlation that resampling leaves, use
`giga.simulate.surveys.noise.CorrelatedNoise`.
"""

from __future__ import annotations

import math

from giga.simulate.surveys.psf_models import FWHM_OF_SIGMA
from giga.simulate.surveys.survey import AiryPSF, Band, GaussianPSF, MoffatPSF, PSFModel, Survey

HST = dict(diameter=2.4, obscuration=0.33)  # HST Primer, sect. 2.1: 2.4 m, central obscuration 0.33
ROMAN = dict(diameter=2.36, obscuration=0.31, sigma=0.008 / FWHM_OF_SIGMA)  # WFI Reference Information; 8 mas jitter


def _surface(rate: float, pixel_scale: float, zero_point: float) -> float:
    """Sky brightness [mag / arcsec^2] of a rate in a pixel [electrons / s]."""
    return zero_point - 2.5 * math.log10(rate / pixel_scale**2)


def _drizzled(read_noise: float, native: float, output: float) -> float:
    """Read noise in a pixel of another size, the variance on the sky kept."""
    return read_noise * output / native


def _gain(rms: float, zero_point: float, sky: float, pixel_scale: float, time: float, n: int,
          read_noise: float) -> float:
    """Electrons per count of an image whose rms is that of a known sky and read noise.

    With x = gain time electrons per count / s and S counts / s of sky in a pixel, rms^2 x^2 = S x + n read_noise^2.
    """
    counts = 10.0 ** (-0.4 * (sky - zero_point)) * pixel_scale**2
    return (counts + math.sqrt(counts**2 + 4.0 * rms**2 * n * read_noise**2)) / (2.0 * rms**2 * time)


# Median rms of a pixel at zero point 30, and Moffat seeing and slope before pixels, of the tiles of KiDS DR4: Li et al.
# (2023), A&A 670, A100, noise_info/kids_dr4_noise_median.csv of the SKiLLS simulations. Exposures: de Jong et al.
# (2015), A&A 582, A62, Table 1. Dark sky of Paranal: Patat (2003), A&A 400, 1183, Table 4 (U, B and V, R, I; AB by
# +0.8, -0.1, +0.0, +0.2, +0.45). Read noise of 5 electrons: OmegaCAM, astro-wise.org. The electrons per count follow
# from these; i is observed in brighter nights, where they are a lower bound and photon noise of sources too large.
KIDS = {  # rms, seeing, slope, seconds, exposures, sky
    "u": (5.3404, 0.9257, 2.079, 1000.0, 4, 23.08), "g": (2.1872, 0.7921, 2.086, 900.0, 5, 22.05),
    "r": (2.3905, 0.6374, 2.224, 1800.0, 5, 21.07), "i": (8.4366, 0.7438, 2.458, 1200.0, 5, 20.16)}


def _kids(name: str, psf: PSFModel | None = None) -> Survey:
    bands = []
    for band, (rms, fwhm, beta, time, n, sky) in KIDS.items():
        gain = _gain(rms, 30.0, sky, 0.2, time, n, 5.0)
        bands.append(Band(band, psf or MoffatPSF(fwhm, beta, enclosed=0.98), zero_point=30.0, gain=gain,
                          exposure_time=time / n, n_exposures=n, read_noise=5.0, sky_brightness=sky))
    return Survey(name, 0.2, (64, 64), tuple(bands))


# Zero points, dark sky at zenith, effective FWHM and noise of an exposure of 30 s: Rubin SMTN-002, throughputs v1.9.
# Visits in ten years: Ivezic et al. (2019), ApJ 873, 111, Table 1.
LSST = {  # zero point, sky, FWHM, visits
    "u": (26.52, 23.05, 0.92, 56), "g": (28.51, 22.25, 0.87, 80), "r": (28.36, 21.20, 0.83, 184),
    "i": (28.17, 20.46, 0.80, 184), "z": (27.78, 19.61, 0.78, 160), "y": (26.82, 18.60, 0.76, 160)}

# Seeing: DES DR2, Abbott et al. (2021), ApJS 255, 20. Sky: DES DR1, Abbott et al. (2018), ApJS 239, 18, Table 1.
# Zero points of one electron / s, read noise and ten tilings: the DES configuration of lenstronomy and its sources.
DES = {  # zero point, sky, FWHM, seconds
    "g": (26.58, 22.01, 1.11, 90.0), "r": (26.78, 21.15, 0.95, 90.0), "i": (26.75, 19.89, 0.88, 90.0),
    "z": (26.48, 18.72, 0.83, 90.0), "Y": (25.40, 17.96, 0.90, 45.0)}

# DECaLS. Zero points and sky: the observing plan of the Legacy Surveys, legacysurvey/obsbot decam.py. Exposures of 87,
# 67 and 100 s in three passes: legacysurvey.org/decamls. FWHM: Dey et al. (2019), AJ 157, 168, Table 3.
LEGACY = {  # zero point, sky, FWHM, seconds
    "g": (26.610, 22.04, 1.29, 87.0), "r": (26.818, 20.91, 1.18, 67.0), "z": (26.484, 18.46, 1.11, 100.0)}

# Minimum of the zodiacal light and thermal background [electrons / s per pixel], the factor 1.5 of high latitudes:
# Roman WFI technical page, v2024. Zero points: lenstronomy's configuration. Effective wavelengths: WFI optical
# elements. Noise of an exposure: Rose et al. (2025), ApJ 988, 65, eq. 9, 3.04 s a read. Exposures of 139.8 s in 6
# dithers, dark current: galsim.roman (Cycle 7).
ROMAN_BANDS = {  # zero point, zodiacal light, thermal, micrometres
    "F106": (26.44, 0.277, 0.003, 1.06), "F129": (26.40, 0.267, 0.003, 1.293),
    "F158": (26.43, 0.244, 0.048, 1.577), "F184": (25.95, 0.141, 0.155, 1.842)}


def _roman() -> Survey:
    time, reads = 139.8, 139.8 / 3.04
    noise = math.sqrt(25.0 + 3072.0 * (reads - 1.0) / (reads * (reads + 1.0)))
    return Survey("roman", 0.11, (91, 91), tuple(
        Band(name, AiryPSF(wavelength, **ROMAN), zero_point=zp, gain=1.0, exposure_time=time, n_exposures=6,
             read_noise=noise, sky_brightness=_surface(1.5 * zodi, 0.11, zp), dark_current=thermal + 0.015)
        for name, (zp, zodi, thermal, wavelength) in ROMAN_BANDS.items()))


# ACS Instrument Handbook: AB zero point, read noise, dark current. Sky: zodiacal light near the ecliptic, where COSMOS
# lies, ACS team's count rates (Sirianni et al. 2005, PASP 117, 1049). Exposures: COSMOS, Koekemoer et al. (2007), ApJS
# 172, 196, 4 x 507 s. Blur: charge diffusion, which with the pixel gives the observed FWHM of 0.1".
ACS = Band("F814W", AiryPSF(0.806, **HST, sigma=0.025), zero_point=25.94, gain=1.0, exposure_time=507.0,
           n_exposures=4, read_noise=5.0, sky_brightness=_surface(0.1511, 0.05, 25.94), dark_current=0.006)

# WFC3 Instrument Handbook: AB zero point, sky, 12 electrons in a ramp of 15 reads and dark current of a native pixel of
# 0.128", drizzled to 0.08"; two orbits, as the time-delay lens modelling challenge has them (Ding et al. 2021, MNRAS
# 503, 1096).
WFC3_IR = Band("F160W", AiryPSF(1.537, **HST, sigma=0.03), zero_point=25.9463, gain=1.0, exposure_time=1350.0,
               n_exposures=4, read_noise=_drizzled(12.0, 0.128, 0.08), sky_brightness=22.3,
               dark_current=0.048 * (0.08 / 0.128) ** 2)

# BELLS GALLERY, Shu et al. (2016), ApJ 833, 264: one orbit, 2520 s, in F606W. WFC3 Instrument Handbook: AB zero point,
# read noise, dark current of a native pixel of 0.04", drizzled to 0.05". Sky: mean zodiacal light in ACS F606W
# (Sirianni et al. 2005), whose AB zero point is 26.49.
WFC3_UVIS = Band("F606W", AiryPSF(0.589, **HST, sigma=0.02), zero_point=26.08, gain=1.0, exposure_time=630.0,
                 n_exposures=4, read_noise=_drizzled(3.1, 0.04, 0.05),
                 sky_brightness=_surface(0.0851, 0.05, 26.49), dark_current=0.002 * (0.05 / 0.04) ** 2)

# Euclid VIS: read noise, exposures, mirror and obscuration of 0.42 m, GalSim-Euclid-Like; zero point of one electron /
# s and mean sky, Euclid's science book (arXiv:1001.0061) and mission database. Blur: jitter and charge diffusion, to
# the FWHM of 0.13" of Cropper et al. (2025), A&A 697, A2.
EUCLID = Band("VIS", AiryPSF(0.715, 1.2, 0.35, sigma=0.025), zero_point=25.5, gain=1.0, exposure_time=566.0,
              n_exposures=4, read_noise=4.4, sky_brightness=22.35)


# Clusters in F435W, F606W and F814W. AB zero points: ACS Instrument Handbook, of one electron / s. Depths, 5 sigma in
# an aperture of 0.4": Lotz et al. (2017), ApJ 837, 97 (18, 10 and 42 orbits of the Frontier Fields), and Postman et al.
# (2012), ApJS 199, 25 (2, 2 and 4 orbits of CLASH). Orbits are taken as 2500 s in two exposures; the sky is what gives
# the depth, since drizzled pixels are not independent. Blur: as above.
CLUSTERS = {  # zero point, micrometres, orbits and depth of the Frontier Fields, and of CLASH
    "F435W": (25.67, 0.4318, 18, 28.8, 2, 27.2), "F606W": (26.49, 0.5919, 10, 28.8, 2, 27.6),
    "F814W": (25.94, 0.806, 42, 29.1, 4, 27.7)}


def _clusters(name: str, pixel_scale: float, pixels: int, deep: bool) -> Survey:
    bands = []
    for band, (zp, wavelength, *seen) in CLUSTERS.items():
        orbits, depth = seen[:2] if deep else seen[2:]
        camera = Band(band, AiryPSF(wavelength, **HST, sigma=0.025, enclosed=0.95), zero_point=zp, gain=1.0,
                      exposure_time=1250.0, n_exposures=2 * orbits, read_noise=0.0, sky_brightness=22.0)
        bands.append(camera.with_aperture_depth(depth, 0.4, pixel_scale))
    return Survey(name, pixel_scale, (pixels, pixels), tuple(bands))


def _legacy(name: str, pixel_scale: float, pixels: int) -> Survey:
    return Survey(name, pixel_scale, (pixels, pixels), tuple(
        Band(b, GaussianPSF(fwhm), zp, 1.0, time, 3, 7.0, sky) for b, (zp, sky, fwhm, time) in LEGACY.items()))


def _ground(name: str, pixel_scale: float, bands: list[Band]) -> Survey:
    return Survey(name, pixel_scale, (64, 64), tuple(bands))


SURVEYS: dict[str, Survey] = {survey.name: survey for survey in (
    _kids("kids"),
    # As printed in the GGSL-UNet paper, sect. 2.3: one Gaussian of sigma 0.4" (an FWHM of 0.94", printed as 0.7").
    _kids("kids-ggsl-unet", GaussianPSF(0.4 * FWHM_OF_SIGMA)),
    Survey("hst-acs-f814w", 0.05, (100, 100), (ACS,)),
    Survey("hst-wfc3-f160w", 0.08, (64, 64), (WFC3_IR,)),
    Survey("hst-wfc3-f606w", 0.05, (101, 101), (WFC3_UVIS,)),
    # The same section: sigma of about 0.1", broader than the telescope's.
    Survey("hst-ggsl-unet", 0.05, (101, 101), (WFC3_UVIS.replace(psf=GaussianPSF(0.1 * FWHM_OF_SIGMA)),)),
    _clusters("hst-hff", 0.03, 128, deep=True), _clusters("hst-hff-60mas", 0.06, 64, deep=True),
    _clusters("hst-clash", 0.03, 128, deep=False), _clusters("hst-clash-60mas", 0.06, 64, deep=False),
    _legacy("legacy", 0.262, 64),
    # Zhang et al. (2026), sect. 2.3: cutouts of 60" of the Legacy Surveys, about clusters; and the same field in pixels
    # of twice the side, which the survey's cutout service gives too and a network of CPU size takes.
    _legacy("legacy-clusters", 0.27, 223), _legacy("legacy-clusters-540mas", 0.54, 112),
    _ground("des", 0.263, [Band(b, GaussianPSF(fwhm), zp, 1.0, time, 10, 7.0, sky)
                           for b, (zp, sky, fwhm, time) in DES.items()]),
    Survey("euclid-vis", 0.1, (100, 100), (EUCLID,)),
    _ground("lsst", 0.2, [Band(b, GaussianPSF(fwhm), zp, 1.0, 30.0, visits, 9.0, sky)
                          for b, (zp, sky, fwhm, visits) in LSST.items()]),
    _roman())}
"""Every preset by name."""


def survey(name: str) -> Survey:
    """The preset of a name.

    Raises:
        ValueError: No preset of that name; it lists them.
    """
    if name not in SURVEYS:
        raise ValueError(f"survey: no preset {name!r}; expected one of {sorted(SURVEYS)}")
    return SURVEYS[name]


def table() -> str:
    """The presets as a table in Markdown, one band a line."""
    lines = ["| preset | pixel [\"] | size | band | PSF | FWHM [\"] | zero point | sky [mag/arcsec^2] | "
             "exposures [s] | rms [counts/s] | 5 sigma depth |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    for preset in SURVEYS.values():
        for b in preset.bands:
            lines.append(
                f"| {preset.name} | {preset.pixel_scale:g} | {preset.shape[0]} x {preset.shape[1]} | {b.name} | "
                f"{type(b.psf).__name__.removesuffix('PSF')} | {b.psf.width:.3g} | {b.zero_point:.2f} | "
                f"{b.sky_brightness:.2f} | {b.n_exposures:g} x {b.exposure_time:g} | "
                f"{b.background_rms(preset.pixel_scale):.3g} | {b.depth(preset.pixel_scale):.2f} |")
    return "\n".join(lines)
