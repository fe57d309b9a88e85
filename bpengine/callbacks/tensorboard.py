"""TensorBoard's event files: tensorboardX's messages and checksums in TFRecords.

Each record is a length (uint64), its masked CRC-32C (uint32), the bytes, and their masked CRC-32C; little-endian.
Source: https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
"""

from __future__ import annotations

import os
import socket
import struct
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

from bpengine.callbacks.epoch_log import EpochLog
from bpengine.callbacks.layer_scalars import Rows
from bpengine.errors import ConfigError, WriteError, check_path
from bpengine.extras import cure
from bpengine.output.appending import add_bytes
from bpengine.training.history import Epoch

Event: TypeAlias = Any  # of tensorboardX, which has no type annotations
START: Final = "events.out.tfevents."  # the part of a name by which TensorBoard recognises event files
VERSION: Final = "brain.Event:2"


class TensorBoard(EpochLog):
    """Scalars for TensorBoard: `tensorboard --logdir FOLDER` shows them. Needs tensorboardX (extra `tensorboard`).

    Tags: loss/training, loss/validation, accuracy/validation and the like, learning_rate, seconds_per_epoch, and with
    `layers` layer_0/gradient_norm, layer_0/dead_units and so on. The axis is the number of steps. A continued fit
    (`resume`, `continue_from`) adds an event file, which replaces the values of earlier files for the same steps. On several
    processes, process 0 writes.

    folder: that of the event files of one run. layers: (x, y): rows on which each layer is measured after every epoch.
    Raises ConfigError where tensorboardX is not installed, WriteError for a folder that cannot be written to.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
    >>> history = model.fit([[0.0], [1.0]], [[1.0], [0.0]], epochs=2, callbacks=bp.callbacks.TensorBoard("runs"))
    """

    def __init__(self, folder: str | os.PathLike[str], *, layers: Rows | None = None) -> None:
        super().__init__(layers)
        check_path(folder, "TensorBoard")
        if find_spec("tensorboardX") is None:
            raise ConfigError(f"TensorBoard requires tensorboardX, which is not installed. {cure('tensorboard')}")
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"TensorBoard requires a folder, got the file {str(self.folder)!r}.")
        self._file: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy in another process, which begins a new file."""
        return {**vars(self), "_file": None, "_last": None}

    def _begin(self, epoch: Epoch) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"the folder {str(self.folder)!r} cannot be made: {error}.") from error
        # names of event files hold only the second of their creation: a number keeps two of them distinct and in order
        number = len(list(self.folder.glob(f"{START}*")))
        self._file = self.folder / f"{START}{time.time():.0f}.{socket.gethostname()}.{number:04}"
        proto: Any = import_module("tensorboardX.proto.event_pb2")
        again = proto.SessionLog(status=proto.SessionLog.START)  # replaces the values of earlier files for these steps
        first = 0 if epoch.number == 1 else epoch.steps
        self._write(proto.Event(wall_time=time.time(), file_version=VERSION))
        self._write(proto.Event(wall_time=time.time(), step=first, session_log=again))

    def _add(self, epoch: Epoch, scalars: dict[tuple[str, str], float]) -> None:
        tags = {"loss/training": epoch.loss, "learning_rate": epoch.learning_rate, "seconds_per_epoch": epoch.seconds}
        scores = epoch.validation or {}
        tags |= {f"{name}/validation": value for name, value in scores.items() if isinstance(value, (int, float))}
        tags |= {f"layer_{place}/{name}": value for (place, name), value in scalars.items()}
        proto: Any = import_module("tensorboardX.proto.event_pb2")
        summary: Any = import_module("tensorboardX.proto.summary_pb2").Summary
        values = [summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]
        self._write(proto.Event(wall_time=time.time(), step=epoch.steps, summary=summary(value=values)))

    def _write(self, event: Event) -> None:
        """Add an event as a TFRecord; tensorboardX's own writer leaves it to a thread, so the last ones may come late."""
        assert self._file is not None
        checksum = import_module("tensorboardX.record_writer").masked_crc32c
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        add_bytes(self._file, b"".join([length, _word(checksum(length)), data, _word(checksum(data))]))


def _word(number: int) -> bytes:
    return struct.pack("<I", number)
