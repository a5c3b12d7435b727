"""How a folder with a checkpoint of Qianfan-OCR is read."""

from typing import Final

from modelmeter.models.common.checkpoint_files import CheckpointFiles

FILES: Final = CheckpointFiles(classes={})
