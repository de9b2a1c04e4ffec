"""Keeps the settings of a run: in its folder, and in its loggers."""

import os

from lightning import LightningModule, Trainer
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import Logger, TensorBoardLogger


class SaveConfig(SaveConfigCallback):
    """Writes the settings of a run as ``config.yaml`` in UTF-8; Lightning would use the locale's encoding.

    It logs them as hyperparameters, too, and TensorBoard shows the file under "text".
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes the file, from one process."""
        folder = trainer.log_dir  # a collective call: every process must make it
        if self.already_saved or not trainer.is_global_zero or folder is None:
            return
        text = self.parser.dump(self.config, skip_none=False)
        files = get_filesystem(folder)
        files.makedirs(folder, exist_ok=True)
        with files.open(os.path.join(folder, self.config_filename), "wb") as file:
            file.write(text.encode())
        for logger in trainer.loggers:
            self._log(logger, text)
        self.already_saved = True

    def _log(self, logger: Logger, text: str) -> None:
        settings = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in self.config.items()
            if name != "config"  # the files that the settings came from
        }
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings)
            return
        from torch.utils.tensorboard.summary import hparams  # not at the top: it takes a second

        # Lightning's log_hyperparams would add a metric of its own, which is never measured.
        writer = logger.experiment._get_file_writer()
        for summary in hparams(settings, {"val/loss": 0}):
            writer.add_summary(summary)
        logger.experiment.add_text("config", f"```yaml\n{text}\n```")
