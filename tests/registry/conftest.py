from kubelib.testing.loops import anyio_backend, pytest_generate_tests

__all__ = ["anyio_backend", "pytest_generate_tests"]
