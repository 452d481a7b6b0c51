"""etcd's v3 messages, made from the descriptors in the package etcd3.

etcd3 0.12 was generated for a protobuf of 2020 and cannot be imported beside a current one. Its descriptors are as
good as ever, so they are read from its source, without importing it, into a pool of their own. Nobody's version of
protobuf has to be pinned, and other packages with messages of the same names are not disturbed.
"""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_FILES = ("kv", "auth", "rpc")


@cache
def _pool() -> Any:
    from google.protobuf.descriptor_pool import DescriptorPool

    spec = find_spec("etcd3")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'etcd3'", name="etcd3")
    folder = Path(spec.submodule_search_locations[0]) / "etcdrpc"
    pool = DescriptorPool()
    for name in _FILES:
        pool.AddSerializedFile(_descriptor(folder / f"{name}_pb2.py"))
    return pool


def _descriptor(source: Path) -> bytes:
    """Return the serialized file descriptor that a generated module holds, whichever generator wrote it."""
    for node in ast.walk(ast.parse(source.read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if function == "AddSerializedFile":
            return _bytes(node.args[0])
        if function == "FileDescriptor":
            for keyword in node.keywords:
                if keyword.arg == "serialized_pb":
                    return _bytes(keyword.value)
    raise ImportError(f"{source} holds no descriptor: this version of etcd3 is not known to kubelib")


def _bytes(node: ast.expr) -> bytes:
    if isinstance(node, ast.Call):  # _b("…"), which made bytes of the text for Python 2 as well
        node = node.args[0]
    value = ast.literal_eval(node)
    return value.encode("latin1") if isinstance(value, str) else bytes(value)


def check_installed() -> None:
    """See to it that there are messages. Raises ImportError, whose name is that of the module which is missing."""
    _pool()


@cache
def message(name: str) -> Any:
    """Return the class of one of etcd's messages: ``RangeRequest``, ``TxnResponse``, …"""
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(_pool().FindMessageTypeByName(f"etcdserverpb.{name}"))
