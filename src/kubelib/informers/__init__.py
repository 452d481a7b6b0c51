"""Noticing: caches that follow a registry, handlers that hear of changes, and the queue of what to look at."""

from kubelib.informers.backoff import PER_CONNECTION as PER_CONNECTION
from kubelib.informers.backoff import PER_KEY as PER_KEY
from kubelib.informers.backoff import Backoff as Backoff
from kubelib.informers.base import Component as Component
from kubelib.informers.base import WorkQueue as WorkQueue
from kubelib.informers.cache import BY_CONTROLLER as BY_CONTROLLER
from kubelib.informers.cache import BY_NAMESPACE as BY_NAMESPACE
from kubelib.informers.cache import BY_OWNER as BY_OWNER
from kubelib.informers.cache import Cache as Cache
from kubelib.informers.cache import revision_of as revision_of
from kubelib.informers.informer import Handler as Handler
from kubelib.informers.informer import Informer as Informer
from kubelib.informers.informer import SharedInformers as SharedInformers
from kubelib.informers.lister import Lister as Lister
from kubelib.informers.reflector import Reflector as Reflector
from kubelib.informers.reflector import Sink as Sink
from kubelib.informers.workqueue import KeyQueue as KeyQueue
