"""Checkpoints of one fold, a folder an epoch: each is there whole or not at all."""

import shutil
from pathlib import Path

import torch
from accelerate import Accelerator


class Checkpoints:
    """Saves and loads whatever was prepared by, or registered with, the accelerator."""

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self.accelerator = folder, accelerator

    def agreed(self, due: bool) -> bool:
        """Whether any process finds one due: they save together, but their clocks differ."""
        if self.accelerator.num_processes == 1:
            return due
        votes = torch.tensor(float(due), device=self.accelerator.device)
        return bool(self.accelerator.reduce(votes, "sum") > 0)

    def save(self, epoch: int) -> None:
        """Write beside its place, then rename: killed at any moment, an older one is there."""
        older, fresh = self._epochs(), self.folder / ".fresh"
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            fresh.rename(self.folder / str(epoch))
            for old in older:
                shutil.rmtree(self.folder / str(old))
        self.accelerator.wait_for_everyone()

    def load(self) -> None:
        """The newest, if there is one."""
        epochs = self._epochs()
        if epochs:
            self.accelerator.load_state(str(self.folder / str(epochs[-1])))

    def clear(self) -> None:
        if self.accelerator.is_main_process:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _epochs(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.folder.iterdir() if entry.name.isdecimal())
