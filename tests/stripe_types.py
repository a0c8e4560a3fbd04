"""Holds objects of the newest API version against the types of Stripe's own SDK: one in JSON a line on standard input, with the name of its type, and one
line for each fault on standard output."""

import builtins
import json
import sys
import typing
from decimal import Decimal

import stripe
from stripe._list_object import ListObject

PLAIN = {bool: bool, int: int, str: str, float: (int, float), Decimal: str}


class Names(dict):
    """What annotations name that is not imported when programs run. A name that the SDK gives to nobody else may be anything."""

    def __missing__(self, name):
        if hasattr(builtins, name) or name in self["__module__"]:
            raise KeyError(name)
        return getattr(typing, name, None) or getattr(stripe, name, typing.Any)


def members(kind):
    """What objects of a type have: those without `Optional` always."""
    module = vars(sys.modules[kind.__module__])
    inner = {name: value for name, value in vars(kind).items() if isinstance(value, type)}
    hints = typing.get_type_hints(kind, module, Names(inner, __module__=module))
    return {name: hint for name, hint in hints.items() if name.islower() and not name.startswith("_")}


def faults(place, value, hint):
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        tried = [list(faults(place, value, choice)) for choice in choices if choice is not type(None)]
        if value is None and type(None) in choices or any(not found for found in tried):
            return
        # The longest way in is what was meant.
        yield from max(tried, key=lambda found: max(map(len, found)))
    elif origin is typing.Literal:
        if value not in choices:
            yield f"{place}: {value!r} is none of {choices}"
    elif hint is typing.Any or origin is typing.ClassVar:
        return
    elif hint in PLAIN:
        if not isinstance(value, PLAIN[hint]) or isinstance(value, bool) and hint is not bool:
            yield f"{place}: {value!r} is no {hint.__name__}"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{place}: {value!r} is no list"
            return
        for number, item in enumerate(value):
            yield from faults(f"{place}/{number}", item, choices[0])
    elif not isinstance(value, dict):
        yield f"{place}: {value!r} is no object"
    elif origin is ListObject:
        if value.get("object") != "list" or not isinstance(value.get("has_more"), bool) or not isinstance(value.get("url"), str):
            yield f"{place}: this is no list of Stripe's"
        yield from faults(f"{place}/data", value.get("data"), typing.List[choices[0]])
    elif choices:
        for name, item in value.items():
            yield from faults(f"{place}/{name}", item, choices[-1])
    else:
        known = members(hint)
        for name in value.keys() - known.keys():
            yield f"{place}/{name}: there is no such member"
        for name, inner in known.items():
            if name in value:
                yield from faults(f"{place}/{name}", value[name], inner)
            elif type(None) not in typing.get_args(inner) and typing.get_origin(inner) is not typing.ClassVar:
                yield f"{place}/{name} is missing"


def main():
    for line in sys.stdin:
        told = json.loads(line)
        *path, last = told["type"].split(".")
        scope = stripe
        for step in path:
            scope = getattr(scope, step)
        for fault in faults(told["type"], told["object"], getattr(scope, last)):
            print(fault)


main()
