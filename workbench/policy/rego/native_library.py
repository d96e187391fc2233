"""regopy, loaded so that its allocator stays its own.

The shared library of rego-cpp brings its own `operator new` and `operator delete`. Where it is the first library of
a process that needs the C++ runtime, the loader resolves the runtime's own calls to them as well, and what other
libraries (DuckDB, Arrow) allocate is never freed: 15 MB for each DuckDB connection. So the runtime is loaded first.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

if sys.platform == "linux":
    with contextlib.suppress(OSError):  # musl and static builds have none of that name, and nothing to protect
        ctypes.CDLL("libstdc++.so.6")

import regopy
from regopy import rego_shared

__all__ = ["rego_shared", "regopy"]
