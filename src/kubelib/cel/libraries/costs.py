"""What calls cost, by the sizes of what they look at: counted while running, and estimated beforehand."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from kubelib.cel.base import Cost
from kubelib.cel.estimate import UNBOUNDED, CallEstimate, Size, Sizes, clamp, fixed, tenth, times
from kubelib.cel.syntax import Constant, Node
from kubelib.cel.values import extent, kind_of, weight

F = TypeVar("F", bound=Callable[..., int])


def beforehand(cost: F) -> F:
    """Mark a cost that does not depend on the result: it is charged before anything is done."""
    cost.beforehand = True  # type: ignore[attr-defined]  # read when a function is declared
    return cost


def size_of(value: Any) -> int:
    """Return the size by which a value is charged."""
    return len(value) if value.__class__ in (str, bytes, list, dict) else 1


@beforehand
def traversal(result: Any, *arguments: Any) -> int:
    """Going once through the first argument."""
    return tenth(size_of(arguments[0]))


def double_traversal(result: Any, *arguments: Any) -> int:
    """Going through the first argument, and building the result from it."""
    return tenth(2 * size_of(arguments[0])) + tenth(size_of(result))


def result_traversal(result: Any, *arguments: Any) -> int:
    """Building the result."""
    return tenth(2 * size_of(result))


def concatenation(result: Any, *arguments: Any) -> int:
    """Copying both arguments."""
    return tenth(size_of(result))


def list_concatenation(result: Any, *arguments: Any) -> int:
    """One, as in cel-go, and a little for the memory that a copy takes here."""
    return 1 + len(result) // 10


@beforehand
def each_element(result: Any, *arguments: Any) -> int:
    """Looking at each element of the first argument, and at all their letters."""
    elements = arguments[0]
    if elements.__class__ is not list:
        return tenth(size_of(elements))
    if elements and elements[0].__class__ in (str, bytes):
        return sum(1 + tenth(size_of(element)) for element in elements)
    return len(elements) + (_within(arguments[1], elements) if len(arguments) == 2 else 0)


def _within(wanted: Any, elements: Any) -> int:
    """Comparing what has parts with each element."""
    return extent(wanted) * size_of(elements) if wanted.__class__ in (list, dict) else 0


@beforehand
def squared(result: Any, *arguments: Any) -> int:
    """Comparing each element of one list with each of the other, and all that is within them."""
    one, other = arguments[0], arguments[-1]
    inner = extent(one) - size_of(one) - 1
    return 1 + (size_of(one) + inner) * size_of(other)


@beforehand
def pattern(result: Any, *arguments: Any) -> int:
    """Matching a text with a pattern."""
    return tenth(1 + size_of(arguments[0])) * -(-size_of(arguments[1]) // 4)


@beforehand
def search(result: Any, *arguments: Any) -> int:
    """Looking for a text in a text."""
    return tenth(size_of(arguments[0])) * tenth(size_of(arguments[1]))


@beforehand
def elements_of_second(result: Any, *arguments: Any) -> int:
    """Comparing with each element of the second argument."""
    return size_of(arguments[1]) + _within(arguments[0], arguments[1])


@beforehand
def smaller(result: Any, *arguments: Any) -> int:
    """Comparing as far as the smaller goes."""
    return min(weight(arguments[0]), weight(arguments[1]))


# Estimates.


def first_traversed(sizes: Sizes) -> CallEstimate:
    """Going once through the first argument."""
    return CallEstimate(sizes.arguments[0].tenth())


def first_traversed_same_size(sizes: Sizes) -> CallEstimate:
    """Going once through the first argument, with a result as large."""
    return CallEstimate(sizes.arguments[0].tenth(), sizes.arguments[0])


def last_traversed(sizes: Sizes) -> CallEstimate:
    """Going once through the last argument."""
    return CallEstimate(sizes.arguments[-1].tenth())


def both_joined(sizes: Sizes) -> CallEstimate:
    """Copying two texts."""
    size = sizes.arguments[0].plus(sizes.arguments[1])
    return CallEstimate(size.tenth(), size)


def lists_joined(sizes: Sizes) -> CallEstimate:
    """Joining two lists."""
    return CallEstimate(Cost(1, 1), sizes.arguments[0].plus(sizes.arguments[1]))


def compared(sizes: Sizes) -> CallEstimate:
    """Comparing as far as the smaller goes."""
    most = min(sizes.arguments[0].most, sizes.arguments[1].most)
    return CallEstimate(Size(1 if most else 0, most).tenth())


EQUAL_AT_MOST = {
    "kubernetes.NamedFormat": 7,
    **dict.fromkeys(("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.URL"), 1),
    **{
        f"kubernetes.authorization.{name}": 1
        for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
    },
}
"""What it costs at most to see that two values of a library's type are equal. Kubernetes knows this of ``==`` alone, not of ``!=``."""


def found_equal(sizes: Sizes) -> CallEstimate:
    """Comparing as far as the smaller goes, or two values of a type whose size is known."""
    one, other = (node.type for node in sizes.nodes)
    if one == other and one.name in EQUAL_AT_MOST:
        return CallEstimate(Cost(1, EQUAL_AT_MOST[one.name]))
    return compared(sizes)


def all_elements(sizes: Sizes) -> CallEstimate:
    """Looking at each element of a list, or at each letter of a text."""
    node = sizes.nodes[0]
    if node.type.kind in ("string", "bytes"):
        return CallEstimate(sizes.arguments[0].tenth())
    each = Cost(1, 1)
    if node.type.kind == "list" and node.type.parameters[0].kind in ("string", "bytes"):
        letters = sizes.element.tenth()
        each = Cost(clamp(1 + letters.least), clamp(1 + letters.most))
    size = sizes.arguments[0]
    return CallEstimate(times(Cost(size.least, size.most), each))


def second_elements(sizes: Sizes) -> CallEstimate:
    """Looking at each element of the second argument."""
    size = sizes.arguments[1]
    return CallEstimate(Cost(size.least, size.most))


def pattern_matched(sizes: Sizes) -> CallEstimate:
    """Matching a text with a pattern."""
    text, expression = sizes.arguments[0], sizes.arguments[1]
    expressions = Cost(-(-expression.least // 4), -(-expression.most // 4))
    return CallEstimate(times(text.plus(fixed(1)).tenth(), expressions))


def pattern_found(sizes: Sizes) -> CallEstimate:
    """Matching a text with a pattern, with parts of the text as the result."""
    return CallEstimate(pattern_matched(sizes).cost, Size(0, sizes.arguments[0].most))


def searched(sizes: Sizes) -> CallEstimate:
    """Looking for a text in a text."""
    return CallEstimate(times(sizes.arguments[0].tenth(), sizes.arguments[1].tenth()))


def split_up(sizes: Sizes) -> CallEstimate:
    """Splitting a text, at worst into letters."""
    return CallEstimate(sizes.arguments[0].tenth(2), Size(0, sizes.arguments[0].most))


def texts_joined(sizes: Sizes) -> CallEstimate:
    """Joining the texts of a list, with something between."""
    count = sizes.arguments[0]
    size = count.times(sizes.element)
    if len(sizes.arguments) > 1:
        between = Size(max(count.least - 1, 0), max(count.most - 1, 0))
        size = size.plus(sizes.arguments[1].times(between))
    return CallEstimate(size.tenth(), size)


def replaced(sizes: Sizes) -> CallEstimate:
    """Replacing parts of a text."""
    text, old, new = sizes.arguments[0], sizes.arguments[1], sizes.arguments[2]
    if old.least == 0:
        most = clamp((text.most + 1) * new.most + text.most)
    elif new.most <= old.least:
        most = text.most
    else:
        most = clamp(-(-text.most // old.least) * new.most)
    if old.most == 0:
        least = clamp((text.least + 1) * new.least + text.least)
    elif old.most <= new.least:
        least = text.least
    else:
        least = clamp(-(-text.least // old.most) * new.least)
    return CallEstimate(text.tenth(2), Size(least, most))


def formatted(sizes: Sizes) -> CallEstimate:
    """Filling in a template."""
    return CallEstimate(sizes.arguments[0].tenth(), None)


def quadratic(sizes: Sizes) -> CallEstimate:
    """Comparing each element of one list with each of the other."""
    product = sizes.arguments[0].times(sizes.arguments[-1])
    return CallEstimate(Cost(clamp(1 + product.least), clamp(1 + product.most)))


# The lists that cel-go's library of lists makes, in its third version, which Kubernetes has had since 1.34.

_ALLOCATING = 11
"""What a call costs that makes a list."""


def _product(size: int, factor: float) -> int:
    """Return a size times a factor, rounded up, or the largest number."""
    return UNBOUNDED if size * factor >= UNBOUNDED else math.ceil(size * factor)


def _allocating(size: Size, factor: float = 1) -> CallEstimate:
    least, most = (_product(number, factor) for number in (size.least, size.most))
    return CallEstimate(Cost(clamp(least + _ALLOCATING), clamp(most + _ALLOCATING)), size)


def _literal(node: Node, otherwise: int) -> int:
    """Return the number that stands in an expression, at least nothing; `otherwise` if none stands there."""
    number = node.value if isinstance(node, Constant) else None
    return max(0, number) if isinstance(number, int) and node.type.kind == "int" else otherwise


@beforehand
def ranged(result: Any, *arguments: Any) -> int:
    """Making each number of a list."""
    count: int = arguments[0]
    return _ALLOCATING + max(0, count)


def range_made(sizes: Sizes) -> CallEstimate:
    """Making as many numbers as the expression says, or any number."""
    return _allocating(fixed(_literal(sizes.nodes[0], UNBOUNDED)))


def sliced(result: Any, *arguments: Any) -> int:
    """Copying a part of a list."""
    return _ALLOCATING + len(result)


def slice_made(sizes: Sizes) -> CallEstimate:
    """Copying as much as the expression says, or all."""
    start, end = _literal(sizes.nodes[1], 0), _literal(sizes.nodes[2], sizes.arguments[0].most)
    return _allocating(fixed(max(0, end - start)))


@beforehand
def reversed_whole(result: Any, *arguments: Any) -> int:
    """Copying a list."""
    return _ALLOCATING + len(arguments[0])


def reverse_made(sizes: Sizes) -> CallEstimate:
    """Copying a list."""
    return _allocating(sizes.arguments[0])


def flattened(result: Any, *arguments: Any) -> int:
    """Going through a list as often as it may be nested, and a little for the memory that the result takes here."""
    depth = arguments[1] if len(arguments) == 2 else 1
    return _ALLOCATING + _product(len(arguments[0]), max(0, depth)) + len(result) // 10


def flat_made(sizes: Sizes) -> CallEstimate:
    """Going through a list as often as the expression says that it may be nested."""
    depth = _literal(sizes.nodes[1], UNBOUNDED) if len(sizes.nodes) == 2 else 1
    return _allocating(sizes.arguments[0], depth)


@beforehand
def compared_with_itself(result: Any, *arguments: Any) -> int:
    """Comparing each element of the last list with each, and all that is within them."""
    elements = arguments[-1]
    count = len(elements)
    within = extent(elements) - count - 1
    return (
        _ALLOCATING + int(count * count * _factor(kind_of(elements[0]) if elements else "")) + within * count
    )


def sorted_made(sizes: Sizes) -> CallEstimate:
    """Comparing each element of the last list with each."""
    type_ = sizes.nodes[-1].type
    size = sizes.arguments[-1]
    factor = _factor(type_.parameters[0].kind if type_.kind == "list" else "")
    return _allocating(size.times(size), factor)


def distinct_made(sizes: Sizes) -> CallEstimate:
    """Comparing each element of a list with each, whatever they are."""
    size = sizes.arguments[0]
    return _allocating(size.times(size), _factor(""))


def _factor(kind: str) -> float:
    return 2.1 if kind in ("string", "bytes") else 2
