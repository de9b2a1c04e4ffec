"""``mav plan``: what a training will need, before it starts."""

import json
from pathlib import Path
from typing import Any

from ..stage_table import stages
from ..training.runs import find_run
from ..utils.console import print_table
from ..utils.errors import UsageError, writing
from ..utils.textfile import write_json
from .arguments import CommandParser, add_import, given, number_in

EXAMPLES = """every other argument goes to LightningCLI, as for mav train, and overrides the configuration:
  mav plan --stage decoder --phase video --scale paper --devices 64 --strategy fsdp
  mav plan --stage decoder --scale base --data.batch_size=32 --model.unet.checkpoint=true
  mav plan --stage sr_lt --scale paper --devices 8 --global-batch 1024 --json"""


def main(argv: list[str]) -> None:
    """Prints what a run takes, on which cards it fits, and how long it takes there."""
    parser = CommandParser(
        prog="mav plan",
        description="Tell what a training will need: operations, memory, traffic, days, which cards it fits.",
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--stage", required=True, metavar="STAGE", help=f"one of {', '.join(stages())}")
    add("--phase", metavar="PHASE", help="image or video (default: the stage's first)")
    add("--scale", metavar="SCALE", default="micro", help="size of everything (default: micro)")
    add("--devices", type=number_in(int, 1, 100_000), metavar="N", help="(default: trainer.devices)")
    add("--strategy", choices=["ddp", "fsdp"], help="how they share the work (default: trainer.strategy)")
    batch = "samples in a step of all devices together; gradients are accumulated until they are reached"
    add("--global-batch", type=number_in(int, 1), metavar="N", help=batch)
    mfu = "share of a card's peak speed that is reached (default: 0.3, see docs/plan.md)"
    add("--mfu", type=number_in(float, 0.001, 1), metavar="SHARE", help=mfu)
    add("--json", action="store_true", help="print JSON instead of tables; sizes in bytes")
    add("--out", type=Path, metavar="FILE", help="also write the JSON to a file")
    add_import(parser)
    args, overrides = parser.parse_known_args(argv)
    run = find_run(args.stage, args.phase, args.scale)
    if run.phase == "text":
        raise UsageError("--phase text is not planned: its size depends on a file of phrases; leave it out")
    from ..training.plan import make_plan

    options = given(args, "devices", "strategy", "global_batch", "mfu")
    plan = make_plan(run, args.scale, overrides=overrides, **options)
    if args.out:
        with writing(f"--out {args.out}", "choose another name"):
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.out, plan)
    if args.json:
        print(json.dumps(plan, indent=2))
    else:
        show(plan)


def show(plan: dict[str, Any]) -> None:
    """Prints a plan as tables."""
    shared = f", {plan['strategy']}" if plan["strategy"] else ""
    title = (
        f"{plan['run']} at scale {plan['scale']}: {plan['devices']} device(s){shared}, {plan['precision']}"
    )
    numbers, flops = plan["parameters"], plan["flops"]
    rows = [
        ["parameters", f"{numbers['total'] / 1e6:,.1f}M"],
        ["  spatial, temporal", f"{numbers['spatial'] / 1e6:,.1f}M, {numbers['temporal'] / 1e6:,.1f}M"],
        ["  frozen, of CLIP", f"{numbers['frozen_clip'] / 1e6:,.1f}M"],
        ["samples in a batch of a device", f"{plan['batch_size']}"],
        ["batches in a step of a device", f"{plan['accumulate']}"],
        ["samples in a step of all devices", f"{plan['global_batch']}"],
        ["TFLOP for a sample", f"{flops['sample'] / 1e12:,.4g}"],
        ["TFLOP for a step of all devices", f"{flops['step'] / 1e12:,.4g}"],
    ]
    for name, size in plan["wire"].items():
        rows.append([f"GB that a device sends in a step, {name.replace('_', ' ')}", f"{size / 1e9:,.3g}"])
    print(title)
    print_table(["what", "how much"], rows)
    states = plan["states"]
    sizes = [
        [name, f"{size / 1e9:,.3g}", f"{states[name] / 1e9:,.3g}" if name in states else ""]
        for name, size in plan["memory"].items()
    ]
    print_table(["memory of a device", "GB at the fullest moment", "GB when complete"], sizes)
    cards = []
    for card in plan["cards"].values():
        days = "no end" if card["days"] is None else f"{card['days']:,.1f}"
        fits = "yes" if card["fits"] else "no"
        calibrated = "yes" if card["calibrated"] else "no"
        gigabytes = [f"{card[name] / 1e9:,.3g}" for name in ("memory", "needed")]
        cards.append([card["name"], *gigabytes, fits, calibrated, f"{card['seconds_per_step']:,.3g}", days])
    header = [
        "card",
        "GB",
        "needed",
        "fits",
        "calibrated",
        "seconds a step",
        f"days for {plan['steps']} steps",
    ]
    print_table(header, cards, f"at {plan['mfu']:.0%} of the peak speed")
    if not all(card["calibrated"] for card in plan["cards"].values()):
        print("not calibrated: no peak memory was measured on such a card; see docs/plan.md")
