"""Cosines as matrix products whose every digit is that of the two rows alone.

The last digits of an ordinary product depend on its shape, on the processor and on how many threads
take part: equal labels would not tie, nor would a row be the same in other company. Here nothing is
ever rounded within a product, so that the order of its sums cannot matter (the idea of Ozaki et al.
2012, Error-free transformations of matrix multiplication). A row is the sum of two parts:

- coarse: multiples of 2^-26. Sums of products of two such parts are multiples of 2^-52, and below 2
  for unit rows: doubles hold them exactly.
- fine: what is left, at most 2^-27, in multiples of 2^-45. Its sums of products with coarse parts
  are multiples of 2^-71, and below 2^-18 up to rows of 65,536: doubles hold them, too.

Fine times fine is left out. Cosines so are right to 10^-13, and most to 10^-15.
"""

from __future__ import annotations

import numpy as np

from clipcli.arrays import Float32, Float64

# A double of this size has no digits below the wanted multiple: adding it rounds to that.
_COARSE = np.float64(1.5 * 2**26)
_FINE = np.float64(1.5 * 2**7)
# Their parts fit into a processor's cache.
_ROWS_AT_ONCE = 256


class Cosines:
    """Rows that many others are compared with.

    Args:
        rows: unit rows, shape (m, embed_dim).
    """

    def __init__(self, rows: Float32) -> None:
        parts = _parts(rows)
        width = rows.shape[1]
        # Fine before coarse, so that one product has both of the mixed ones.
        self._parts = np.concatenate([parts[:, width:], parts[:, :width]], axis=1)

    def of(self, rows: Float32) -> Float64:
        """Cosines, shape (n, m), of unit rows, shape (n, embed_dim)."""
        cosines = np.empty((len(rows), len(self._parts)))
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            self._multiply(_parts(rows[block]), cosines[block])
        return cosines

    def _multiply(self, parts: Float64, cosines: Float64) -> None:
        width = parts.shape[1] // 2
        np.matmul(parts[:, :width], self._parts[:, width:].T, out=cosines)
        cosines += parts @ self._parts.T


def _parts(rows: Float32) -> Float64:
    """Rows of shape (n, d) as their coarse and their fine parts, shape (n, 2 d)."""
    count, width = rows.shape
    parts = np.empty((count, 2 * width))
    coarse, fine = parts[:, :width], parts[:, width:]
    fine[:] = rows
    np.add(fine, _COARSE, out=coarse)
    coarse -= _COARSE
    fine -= coarse
    fine += _FINE
    fine -= _FINE
    return parts
