"""Whether a model version still serves those who call another one, by what their signatures say. Pure.

A request that fits the old version must fit the new one, and an answer of the new one must be readable by those who
read the old one's. What MLflow 3.17 enforces on requests (mlflow/models/utils.py) decides what fits:

    input       new and required: refused; new and optional, or gone: fine (columns that the model does not name are
                dropped); required before and optional now: fine
    property    of an object: as an input, but MLflow refuses a request with a property that the model does not name
    type        integer -> long -> double and float -> double. What is above float loses digits, and MLflow refuses it.
                Inside of arrays and objects integer -> long and float -> double only: JSON is not read by the signature
                there. Tensors: a dtype that holds every number of the other, and -1 where a length stood
    output      gone, or of a type that the old one does not include: refused; new beside named ones: fine
    parameter   has a default always, so it may come and go; integer -> long -> float -> double
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from penstock.analysis import text
from penstock.analysis.signature import Anything, Array, Column, Kind, Map, Object, Parameter, Scalar, Signature, Tensor
from penstock.api.v1alpha1.modeldeployment import SignaturePolicy

Part = Literal["input", "output", "parameter"]

_INSIDE = frozenset({("integer", "long"), ("float", "double")})
_COLUMNS = _INSIDE | {("integer", "double"), ("long", "double")}
_PARAMETERS = _COLUMNS | {("integer", "float"), ("long", "float")}
LONGEST = 120
"""Characters of a type that is told."""
_EXACT_BITS = {16: 11, 32: 24, 64: 53}
"""How many bits of a whole number a float of this size keeps."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which a signature does not fit another."""

    part: Part
    place: tuple[str | int, ...]
    """The names that lead there, a position for a column without a name; nothing for all columns."""
    change: str

    def __str__(self) -> str:
        return self.change


def compare(stable: Signature, candidate: Signature, policy: SignaturePolicy) -> tuple[Problem, ...]:
    """Why those who call `stable` cannot call `candidate` instead; empty if they can."""
    match policy:
        case SignaturePolicy.IGNORE:
            return ()
        case SignaturePolicy.COMPATIBLE:
            return (
                *_compatible("input", stable.inputs, candidate.inputs),
                *_compatible("output", stable.outputs, candidate.outputs),
                *_compatible_parameters(stable.parameters or (), candidate.parameters or ()),
            )
        case SignaturePolicy.EXACT:
            return () if stable == candidate else tuple(_differences(stable, candidate))
    assert_never(policy)


def sentence(problems: Sequence[Problem], most: int = 6) -> str:
    """The problems in one clause: "input 'amount' changed from double to string; output 'score' is gone"."""
    said = [str(problem) for problem in problems[:most]]
    if len(problems) > most:
        said.append(f"and {len(problems) - most} more")
    return "; ".join(said)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where two signatures are being compared."""

    part: Part
    names: tuple[str | int, ...] = ()
    nested: bool = False

    def of(self, name: str | int) -> "_Place":
        return replace(self, names=(*self.names, name), nested=bool(self.names))

    def inside(self) -> "_Place":
        return replace(self, names=(*self.names, "[]"), nested=True)

    def __str__(self) -> str:
        """In words: input 'customer.age', output 2, the inputs."""
        if all(isinstance(name, int) for name in self.names):
            return f"{self.part} {self.names[0]}" if self.names else f"the {self.part}s"
        path = ".".join(str(name) for name in self.names).replace(".[]", "[]")
        return f"{self.part} '{text.one_line(path, 60)}'"

    def problem(self, change: str) -> Problem:
        return Problem(self.part, self.names, change)

    def gone(self) -> Problem:
        return self.problem(f"{self} is gone")

    def new(self, *, required: bool = True) -> Problem:
        return self.problem(f"{'required ' if self.part == 'input' and required else ''}{self} is new")

    def changed(self, old: object, new: object) -> Problem:
        before, after = (text.one_line(str(type_), LONGEST) for type_ in (old, new))
        return self.problem(f"{self} changed from {before} to {after}")


def _compatible(part: Part, old: tuple[Column, ...] | None, new: tuple[Column, ...] | None) -> Iterator[Problem]:
    """Columns of which one side says nothing cannot be compared."""
    if old is None or new is None:
        return
    here = _Place(part)
    if old and new and (old[0].name is None) != (new[0].name is None):
        yield here.problem(f"{here} {'have no names any more' if new[0].name is None else 'have names now'}")
        return
    yield from _columns_fit(here, _by_name(old), _by_name(new))


def _columns_fit(here: _Place, old: Mapping[str | int, Column], new: Mapping[str | int, Column]) -> Iterator[Problem]:
    """Whether the new columns, or the new properties of an object, do for the old ones."""
    is_input = here.part != "output"
    for name, before in old.items():
        there, after = here.of(name), new.get(name)
        if after is None:
            if bool(here.names) if is_input else before.required:
                yield there.gone()
            continue
        yield from _fits(there, before.kind, after.kind)
        if is_input and after.required and not before.required:
            yield there.problem(f"{there} is required now")
        if not is_input and before.required and not after.required:
            yield there.problem(f"{there} may be missing now")
    for name, after in new.items():
        if name not in old and (after.required if is_input else after.name is None):
            yield here.of(name).new()


def _fits(here: _Place, old: Kind, new: Kind) -> Iterator[Problem]:
    """Whether a value does: of the old type for the new one as an input, the other way round as an output."""
    match old, new:
        case Array(), Array():
            yield from _fits(here.inside(), old.items, new.items)
        case Map(), Map():
            yield from _fits(here.of("*"), old.values, new.values)
        case Object(), Object():
            yield from _columns_fit(here, _by_name(old.properties), _by_name(new.properties))
        case _:
            given, taken = (new, old) if here.part == "output" else (old, new)
            if not _takes(taken, given, here):
                yield here.changed(old, new)


def _takes(taken: Kind, given: Kind, here: _Place) -> bool:
    if given == taken or isinstance(taken, Anything):
        return True
    match given, taken:
        case Scalar(), Scalar():
            wider = _PARAMETERS if here.part == "parameter" else _INSIDE if here.nested else _COLUMNS
            return (given.name, taken.name) in wider
        case Tensor(), Tensor():
            return (
                _holds(taken.dtype, given.dtype)
                and len(given.shape) == len(taken.shape)
                and (all(length in {-1, one} for one, length in zip(given.shape, taken.shape, strict=True)))
            )
    return False


def _holds(taken: str, given: str) -> bool:
    """Whether every number of a dtype can be written as one of the other."""
    if given == taken:
        return True
    (kind, bits), (taken_kind, taken_bits) = _dtype(given), _dtype(taken)
    if kind == taken_kind:
        return kind in {"int", "uint", "float"} and 0 < bits < taken_bits
    if (kind, taken_kind) == ("uint", "int"):
        return bits < taken_bits
    return kind in {"int", "uint"} and taken_kind == "float" and 0 < bits <= _EXACT_BITS.get(taken_bits, 0)


def _dtype(name: str) -> tuple[str, int]:
    kind = name.rstrip("0123456789")
    size = name[len(kind) :]
    return kind, int(size) if 0 < len(size) < 4 else 0


def _compatible_parameters(old: Sequence[Parameter], new: Sequence[Parameter]) -> Iterator[Problem]:
    before = {one.name: one for one in old}
    for after in new:
        here, known = _Place("parameter").of(after.name), before.get(after.name)
        if known is not None and (known.shape != after.shape or any(_fits(here, known.kind, after.kind))):
            yield here.changed(known, after)


def _differences(old: Signature, new: Signature) -> Iterator[Problem]:
    """What is not the same; at least one sentence where anything is not."""
    yield from _different_columns(_Place("input"), old.inputs, new.inputs)
    yield from _different_columns(_Place("output"), old.outputs, new.outputs)
    if old.parameters != new.parameters:
        found = tuple(_different_parameters(old.parameters or (), new.parameters or ()))
        here = _Place("parameter")
        yield from found or (here.problem(f"{here} are in another order"),)


def _different_columns(
    here: _Place, old: tuple[Column, ...] | None, new: tuple[Column, ...] | None
) -> Iterator[Problem]:
    if old == new:
        return
    if old is None or new is None:
        yield here.problem(f"{here} are {'not described any more' if new is None else 'described now'}")
        return
    before, after = _by_name(old), _by_name(new)
    found = [here.of(name).gone() for name in before if name not in after]
    for name, column in before.items():
        there, other = here.of(name), after.get(name)
        if other is not None and other.kind != column.kind:
            found.append(there.changed(column.kind, other.kind))
        if other is not None and other.required != column.required:
            found.append(there.problem(f"{there} is {'required' if other.required else 'optional'} now"))
    found += [here.of(name).new(required=column.required) for name, column in after.items() if name not in before]
    yield from found or (here.problem(f"{here} are in another order"),)


def _different_parameters(old: Sequence[Parameter], new: Sequence[Parameter]) -> Iterator[Problem]:
    before, after = ({one.name: one for one in ones} for ones in (old, new))
    for name, one in before.items():
        here, other = _Place("parameter").of(name), after.get(name)
        if other is None:
            yield here.gone()
        elif (other.kind, other.shape) != (one.kind, one.shape):
            yield here.changed(one, other)
        elif other != one:
            change = f"from {text.one_line(one.default, 40)} to {text.one_line(other.default, 40)}"
            yield here.problem(f"the default of {here} changed {change}")
    yield from (_Place("parameter").of(name).new() for name in after if name not in before)


def _by_name(columns: Sequence[Column]) -> dict[str | int, Column]:
    """Columns by their names, or by their positions, which begin with 1."""
    return {position if column.name is None else column.name: column for position, column in enumerate(columns, 1)}
