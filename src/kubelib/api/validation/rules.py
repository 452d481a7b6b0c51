"""Rules of the expressions in the schemas of custom kinds."""

from kubelib.api.errors import Problem
from kubelib.api.scheme import Tree
from kubelib.api.structural.rules import has_rules


def expression_problems(schema: Tree, path: str, *, unchanged: bool = False) -> list[Problem]:
    """Return what is wrong with the expressions of a sound schema.

    What a schema costs that is `unchanged` is tolerated: it was accepted once.
    """
    if not has_rules(schema):
        return []
    from kubelib.cel.rule_definitions import rule_problems

    return [
        Problem(problem.reason, problem.path, problem.message)
        for problem in rule_problems(schema, path)
        if not (unchanged and "exceeds budget by factor" in problem.message)
    ]
