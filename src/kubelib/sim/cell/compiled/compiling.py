"""The only module that knows numba."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])
_njit: Any = numba.njit
# Without counting who refers to arrays: nothing is allocated in a run, and counting, by atomic operations, is half of what a run costs.
_OPTIONS = {"cache": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}

# What is compiled is kept beside the source, or where numba keeps such things if nobody may write there.
entry = cast("Callable[[F], F]", _njit(**_OPTIONS))
"""Compile a function when it is first called, with arithmetic as numpy has it."""
inner = cast("Callable[[F], F]", _njit(**_OPTIONS, no_cpython_wrapper=True))
"""The same for functions that only compiled ones call: half of the time goes into what Python needs to call one."""
