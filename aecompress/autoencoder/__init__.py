"""The autoencoder family: fitted in floating point, decoded in exact integers.

    fit_pca, fit_dense, fit_textbook  →  Autoencoder (analysis)  →  freeze  →  IntegerNetwork (synthesis)

Nothing here loads torch before a dense network is trained or a device other than the CPU is asked for.
"""

from aecompress.autoencoder.dense import fit_dense, fit_textbook
from aecompress.autoencoder.integer import IntegerNetwork
from aecompress.autoencoder.network import Autoencoder, load_autoencoder
from aecompress.autoencoder.pca import fit_pca

__all__ = ["Autoencoder", "IntegerNetwork", "fit_dense", "fit_pca", "fit_textbook", "load_autoencoder"]
