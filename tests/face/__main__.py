"""Write the faces anew, or print everything with its numbers."""

import sys
from pathlib import Path

from tests.face.collect import FACES, with_digits

if "--digits" in sys.argv:
    print("\n".join(with_digits()))
else:
    for name, face in FACES.items():
        Path(__file__).with_name(f"{name}.txt").write_text("\n".join(face()) + "\n", encoding="utf-8")
