"""Write the faces anew, or print everything with its numbers."""

import sys
from pathlib import Path

from bpengine.system.busy import BUSY_WATCH
from tests.face.collect import FACES, with_digits

BUSY_WATCH.rest()  # what else this machine does is no part of the face
if "--digits" in sys.argv:
    print("\n".join(with_digits()))
else:
    for name, face in FACES.items():
        Path(__file__).with_name(f"{name}.txt").write_text("\n".join(face()) + "\n", encoding="utf-8")
