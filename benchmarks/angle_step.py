"""What automatic and given angle steps cost in score, measured on templates.

    python benchmarks/angle_step.py NAME=TEMPLATE[,MASK] ...

without arguments on the side view of sample_data. The table gives the automatic step for each low-pass, and the share
of the score that it and steps of 4 and 10 degrees cost on average.
"""

import sys
from pathlib import Path

from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import read_views
from napari_gempick.model.settings import make_settings

SAMPLE = Path(__file__).parents[1] / "sample_data"


def main() -> None:
    given = sys.argv[1:] or [f"sample={SAMPLE / 'template_side.mrc'},{SAMPLE / 'mask_side.mrc'}"]
    print("| template | low-pass (Å) | automatic step | costs | 4 degrees cost | 10 degrees cost |")
    print("|---|---|---|---|---|---|")
    for text in given:
        name, files = text.split("=", 1)
        template, _, mask = files.partition(",")
        for lowpass in (None, 10, 20, 40):
            settings = make_settings({"templates": (template,), "mask": (mask or "auto",), "lowpass": lowpass})
            makers = BankMaker(settings, read_views(settings))
            step, loss = makers.index.angle_step, makers.step_loss
            costs = " | ".join(f"{100 * loss(value):.2g} %" for value in (step, 4, 10))
            print(f"| {name} | {lowpass or 'none'} | {step:.1f} | {costs} |")


if __name__ == "__main__":
    main()
