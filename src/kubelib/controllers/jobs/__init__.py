"""What Jobs do: which Pods to make, when a Job has succeeded or failed, and exact counts of Pods that have ended. Pure."""

from kubelib.controllers.jobs.planning import Backoffs, Plan, plan
from kubelib.controllers.jobs.pods import FINALIZER, is_finished

__all__ = ["FINALIZER", "Backoffs", "Plan", "is_finished", "plan"]
