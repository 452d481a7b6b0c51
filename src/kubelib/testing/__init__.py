"""Suites that define the interfaces, fixtures and builders for tests of code that uses the library."""
