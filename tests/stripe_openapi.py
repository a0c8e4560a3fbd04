"""Holds exchanges with a Stripe, and objects of its events, against its published description: one in JSON a line on standard input, one line for each
fault on standard output."""

import json
import re
import sys
from urllib.parse import parse_qsl

from jsonschema import Draft4Validator, RefResolver


def strict(node):
    """The description in JSON Schema: what may be null says so by `nullable` there."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {name: strict(value) for name, value in node.items()}
    if node.pop("nullable", False) is True:
        return {"anyOf": [node, {"type": "null"}]}
    return node


def nested(pairs):
    """`a[b][0]=c` as `{"a": {"b": {"0": "c"}}}`."""
    whole = {}
    for name, value in pairs:
        *path, last = re.findall(r"[^\[\]]+", name)
        place = whole
        for step in path:
            place = place.setdefault(step, {})
        if last in place:
            raise ValueError(f"{name} comes twice")
        place[last] = value
    return whole


def typed(value, schema):
    """Text of a form in the type that the schema has for it; what has none stays as it is."""
    choices = schema.get("anyOf", [schema])
    if isinstance(value, dict):
        for choice in choices:
            if choice.get("type") == "array" and all(name.isdigit() for name in value):
                items = [value[name] for name in sorted(value, key=int)]
                return [typed(item, choice.get("items", {})) for item in items]
        for choice in choices:
            if choice.get("type") == "object":
                known = choice.get("properties", {})
                other = choice.get("additionalProperties")
                other = other if isinstance(other, dict) else {}
                return {name: typed(item, known.get(name, other)) for name, item in value.items()}
        return value
    for choice in choices:
        if choice.get("type") == "integer" and re.fullmatch(r"-?[0-9]+", value):
            return int(value)
        if choice.get("type") == "boolean" and value in ("true", "false"):
            return value == "true"
    return value


def closed(schema):
    """Objects take what they name and nothing else."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(value) for name, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = strict(json.load(file))
    resolver = RefResolver.from_schema(document)
    paths = {}
    for path, methods in document["paths"].items():
        pattern = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path))
        for method, operation in methods.items():
            paths.setdefault(method.upper(), []).append((path.count("{"), pattern, path, operation))
    for line in sys.stdin:
        exchange = json.loads(line)
        if "schema" in exchange:
            # What it does not know of an object is a fault as well.
            whole = closed(document)
            schema = whole["components"]["schemas"][exchange["schema"]]
            judge = Draft4Validator(schema, resolver=RefResolver.from_schema(whole))
            for fault in judge.iter_errors(exchange["object"]):
                print(f"{exchange['schema']}: {list(fault.absolute_path)}: {fault.message[:300]}")
            continue
        fits = [
            (holes, path, operation)
            for holes, pattern, path, operation in paths.get(exchange["method"], [])
            if pattern.fullmatch(exchange["path"])
        ]
        if not fits:
            print(f"{exchange['method']} {exchange['path']}: there is no such call")
            continue
        _, path, operation = min(fits, key=lambda fit: fit[0])
        name = f"{exchange['method']} {path}"

        def judge(what, value, schema):
            for fault in Draft4Validator(schema, resolver=resolver).iter_errors(value):
                print(f"{name}: {what}: {list(fault.absolute_path)}: {fault.message[:300]}")

        form = {"type": "object", "properties": {}}
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]
            form = content["application/x-www-form-urlencoded"]["schema"]
        body = nested(parse_qsl(exchange["body"], keep_blank_values=True, strict_parsing=bool(exchange["body"])))
        judge("body", typed(body, form), closed(form))
        query = nested(parse_qsl(exchange["query"], keep_blank_values=True, strict_parsing=bool(exchange["query"])))
        asked = [it for it in operation.get("parameters", []) if it["in"] == "query"]
        schema = {
            "type": "object",
            "properties": {it["name"]: it["schema"] for it in asked},
            "required": [it["name"] for it in asked if it.get("required")],
        }
        judge("query", typed(query, schema), closed(schema))
        answers = operation["responses"]
        answer = answers.get(str(exchange["status"]), answers["default"])
        if exchange["answer"] is not None:
            judge("answer", exchange["answer"], answer["content"]["application/json"]["schema"])


main()
