"""The pytest plug-in of the distribution: registers the fixture `kubelib_cluster` and the marker ``seeds``."""
