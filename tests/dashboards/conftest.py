"""The app's modules are found as Streamlit finds them: in the folder of `app.py`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "dashboards" / "app.py"

if str(APP.parent) not in sys.path:
    sys.path.insert(0, str(APP.parent))
