"""The functions that Kubernetes' expressions may use, one module per library."""

from kubelib.cel.libraries.addresses import ADDRESSES
from kubelib.cel.libraries.authorization import AUTHORIZATION
from kubelib.cel.libraries.formats import FORMATS
from kubelib.cel.libraries.images import IMAGES
from kubelib.cel.libraries.optionals import OPTIONALS
from kubelib.cel.libraries.quantities import QUANTITIES
from kubelib.cel.libraries.regexes import REGEXES
from kubelib.cel.libraries.semvers import SEMVERS
from kubelib.cel.libraries.sequences import SEQUENCES
from kubelib.cel.libraries.sets import SETS
from kubelib.cel.libraries.standard import STANDARD
from kubelib.cel.libraries.strings import STRINGS
from kubelib.cel.libraries.times import TIMES
from kubelib.cel.libraries.urls import URLS
from kubelib.cel.library import merged

FUNCTIONS, TYPE_NAMES = merged(
    (
        STANDARD,
        TIMES,
        STRINGS,
        SEQUENCES,
        SETS,
        REGEXES,
        URLS,
        ADDRESSES,
        QUANTITIES,
        SEMVERS,
        FORMATS,
        IMAGES,
        OPTIONALS,
        AUTHORIZATION,
    )
)
"""All functions and named types together."""

__all__ = ["FUNCTIONS", "TYPE_NAMES"]
