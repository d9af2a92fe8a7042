"""What tells lenses from other images without a network, with sources matched in flux and without.

    python examples/modular/shortcuts.py --images 1000

Of the true sources, as the finder of the chain is trained on them: the total flux, the number of bright pixels, and the
number of pixels above half of the peak.
"""

import argparse

from giga.models.networks.chain import ModularConfig
from giga.models.systems.modular_table import shortcuts

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--images", type=int, default=1000)
parser.add_argument("--smoke", action="store_true", help="a few small images, to see that it runs")
args = parser.parse_args()

print("| unlensed sources | method | accuracy | area under the ROC curve |\n|---|---|---|---|")
for matched in (False, True):
    config = ModularConfig(stage="find", matched=matched, pixels=18 if args.smoke else 64)
    for method, numbers in shortcuts(config, 32 if args.smoke else args.images).items():
        print(f"| {'matched' if matched else 'as drawn'} | {method} | {numbers['accuracy']:.3f} | "
              f"{numbers['area_under_roc']:.3f} |", flush=True)
