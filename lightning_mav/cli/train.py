"""``mav train``: one stage, or all of them in order."""

from ..stage_table import stages
from ..training.runs import find_run
from ..training.signals import training_process
from ..training.train import train, train_all
from ..utils.console import plain_warnings
from ..utils.errors import UsageError
from .arguments import CommandParser, add_import

EXAMPLES = """every other argument goes to LightningCLI and overrides the configuration:
  mav train sr_lt --phase video --trainer.max_steps=100 --model.unet.channels=48
  mav train decoder --trainer.strategy=ddp --trainer.devices=2
  mav train decoder --scale paper --trainer.strategy=fsdp --trainer.devices=8 --global_batch=256
  mav train decoder --print_config"""


def main(argv: list[str]) -> None:
    """Trains a stage, going on from its newest checkpoint; or all stages."""
    parser = CommandParser(
        prog="mav train",
        description="Train a stage, or all in order; unfinished ones are resumed, finished ones skipped.",
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    parser.add_argument("stage", metavar="STAGE", help=f"one of {', '.join(stages())}, or all")
    parser.add_argument("--phase", metavar="PHASE", help="image, video or text (default: the stage's first)")
    parser.add_argument(
        "--scale", metavar="SCALE", default="micro", help="size of everything (default: micro)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start over; the old run's folder is moved aside"
    )
    add_import(parser)
    args, overrides = parser.parse_known_args(argv)
    if args.stage == "all":
        if args.phase:
            raise UsageError("all stages have their own phases: leave --phase out, or name a stage")
        train_all(args.scale, ["--fresh"] * args.fresh + overrides)
    else:
        with training_process(), plain_warnings():
            run = find_run(args.stage, args.phase, args.scale)
            train(run, args.scale, fresh=args.fresh, overrides=overrides)
