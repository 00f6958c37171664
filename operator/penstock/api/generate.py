"""Writes what is generated from the models: CRDs, the chart's copy of them, and the field reference.

`python -m penstock.api.generate` in a checkout; a test compares the committed files with `outputs()`.
"""

import pathlib
import sys
from typing import Any

import yaml

from penstock.api import crd, kinds, reference

_HEADER = "# Generated from the models in operator/penstock/api by `make generate`; do not edit.\n"


def outputs() -> dict[str, str]:
    """Every generated file: path from the root of the repository, and content."""
    result: dict[str, str] = {}
    for kind in kinds.ALL:
        definition = crd.definition(kind)
        result[f"crds/penstock.dev_{kind.plural}.yaml"] = _HEADER + dump(definition)
        result[f"charts/penstock/templates/crds/{kind.plural}.yaml"] = template(definition)
        result[f"docs/reference/{kind.singular}.md"] = reference.page(kind)
    return result


def dump(value: Any) -> str:
    """Block-style YAML in the order given."""
    return yaml.safe_dump(value, sort_keys=False, width=120, allow_unicode=True)


def template(definition: dict[str, Any]) -> str:
    """`definition` as a Helm template: on request only, and kept on uninstall if wanted."""
    body = dump({key: value for key, value in definition.items() if key not in {"apiVersion", "kind", "metadata"}})
    labels = dump({"labels": definition["metadata"]["labels"]})
    return (
        _HEADER
        + "{{- if .Values.crds.enabled }}\n"
        + dump({"apiVersion": definition["apiVersion"], "kind": definition["kind"]})
        + f"metadata:\n  name: {definition['metadata']['name']}\n"
        + "".join(f"  {line}\n" for line in labels.splitlines())
        + "  {{- if .Values.crds.keep }}\n"
        + "  annotations:\n    helm.sh/resource-policy: keep\n"
        + "  {{- end }}\n"
        + escape(body)
        + "{{- end }}\n"
    )


def escape(text: str) -> str:
    """`text` as Helm has to find it to print it unchanged."""
    return "".join({"{{": '{{ "{{" }}', "}}": '{{ "}}" }}'}.get(part, part) for part in _braces(text))


def _braces(text: str) -> list[str]:
    """`text` cut into double braces and what lies between them."""
    parts: list[str] = []
    rest = text
    while rest:
        at = min((found for found in (rest.find("{{"), rest.find("}}")) if found >= 0), default=-1)
        if at < 0:
            return [*parts, rest]
        parts += [rest[:at], rest[at : at + 2]]
        rest = rest[at + 2 :]
    return parts


def main(root: pathlib.Path) -> None:
    """Write every generated file below `root`."""
    for path, content in outputs().items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path.cwd())
