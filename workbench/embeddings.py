"""Texts as vectors, from a table of static embeddings inside an installed package: no download, no network."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.events import UnreachableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = 256
_BATCH = 256


class Embeddings:
    """Turns texts into vectors whose dot product says how close their meanings are.

    The weights and the tokenizer are those that WordLlama ships (16 MB, a token table distilled from large language
    models). They are read directly: its own loader looks for the tokenizer in a folder that the wheel does not have,
    then on the network, and importing it reconfigures the logging of the whole process.
    """

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """One row of unit length per text; a text without any known token becomes zeros.

        Raises:
            UnreachableError: the embeddings are not installed. The first call takes about 0.3 s, so make it in a
                thread.
        """
        import numpy as np

        table, tokenizer = _load()
        rows = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for begin in range(0, len(texts), _BATCH):
            batch = texts[begin : begin + _BATCH]
            # A batch of one would still wake a pool of threads, which on a busy machine costs a hundred times the work.
            encoded = (
                tokenizer.encode_batch_fast(batch, add_special_tokens=False)
                if len(batch) > 1
                else [tokenizer.encode(batch[0], add_special_tokens=False)]
            )
            lengths = np.array([len(e.ids) for e in encoded])
            if not lengths.any():
                continue
            ids = np.concatenate([np.asarray(e.ids, dtype=np.int64) for e in encoded])
            filled = np.flatnonzero(lengths)
            starts = (np.cumsum(lengths) - lengths)[filled]
            rows[begin + filled] = np.add.reduceat(table[ids].astype(np.float32), starts, axis=0)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        np.divide(rows, norms, out=rows, where=norms > 0)
        return rows


@cache
def _load() -> tuple[NDArray[Any], Any]:
    """The token table and the tokenizer, once for the whole process: they are never changed."""
    found = importlib.util.find_spec("wordllama")
    folder = Path(found.origin).parent if found is not None and found.origin else Path("wordllama")
    weights = folder / "weights" / "l2_supercat_256.safetensors"
    vocabulary = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    try:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(vocabulary))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return load_file(str(weights))["embedding.weight"], tokenizer
    except Exception as e:  # the tokenizers library raises nothing more precise
        raise UnreachableError(
            f"The embeddings in {folder} cannot be read: {e}.", hint="Install the package wordllama again."
        ) from e
