"""Write deploy/docs/configuration.md, metrics.md and access.md from the code, or check that they are fresh.

`references.py write|check`. Names, types, limits and defaults come from the settings' models, metrics from the daemon's
registry, rights in the cluster from handlers/rights.py. What a setting means stands in one place, `.ci/settings.yaml`: one entry
for each section and setting by its path. A setting without an entry, and an entry without a setting, is a fault, so that nothing
can be forgotten.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, only .ci is on the path

from config import policy_section  # noqa: E402
from config.durations import read as duration_or_zero  # noqa: E402
from config.durations import render  # noqa: E402
from config.settings import Settings  # noqa: E402
from config.sources import DELIMITER, PREFIX  # noqa: E402
from daemon.core.policy import DEFAULT_SIGNALS, SATURATION_SIGNALS, Policy, SignalRule  # noqa: E402
from daemon.runtime.score_metrics import WORKLOADS_MAX  # noqa: E402
from daemon.runtime.telemetry import Metrics  # noqa: E402
from handlers.access_check import NAMESPACES_MAX  # noqa: E402
from handlers.rights import NEVER_NEEDED, RIGHTS, Right  # noqa: E402

TEXTS = ".ci/settings.yaml"
CONFIGURATION, METRICS = "deploy/docs/configuration.md", "deploy/docs/metrics.md"
ACCESS = "deploy/docs/access.md"
REMEDY = "run `python .ci/references.py write` and commit the result"
VALUES_SHOWN_MAX = 12
"""Label values in one cell of the table; a longer list is told by its number and a few of its first."""

CONFIGURATION_HEAD = f"""# Configuration

Made from the code by `python .ci/references.py write`; do not edit. The meanings stand in `{TEXTS}`.
[`deploy/lastgood.example.yaml`](../lastgood.example.yaml) is a file to begin with; `lastgood check-config FILE` checks yours.

Sources, strongest first: environment variables, files in `secrets_dir`, the YAML file, the defaults. Mappings are laid over each
other key by key, lists are replaced as a whole. Unknown and duplicate keys are refused.

- **duration**: as in Prometheus, `500ms`, `30s`, `1h30m`, `1d`; a number without a unit is refused.
- **secret**: the value itself, or `NAME_file: /path` in its place, or `NAME: {{file: /path}}`. In `secrets_dir` a file is named
  by the setting's path, like `pagerduty.routing_key`. Files are read at each start; a changed one waits for a restart.
- **list**, **mapping**: in a variable they are JSON, `LASTGOOD_POLICY__MODES='[{{"namespaces": ["shop"], "mode": "auto"}}]'`.
- `[]` in a path stands for each entry of a list, `NAME` for a name of your own.
- A variable is read without regard to case; an empty one counts as unset.

SIGHUP takes over `policy` and `log`; the other sections wait for a restart.
"""

METRICS_HEAD = f"""# Metrics

Made from the code by `python .ci/references.py write`; do not edit. Served on `/metrics` of the daemon's address, without
credentials.

Every combination of labels starts at 0, so "no failures" is not "no data". Counters follow the facts as they are journalled;
gauges are computed from the state when they are read, 0 on one that stands by. Only the scorecard's label holds a workload's
name, of at most {WORKLOADS_MAX} workloads: the number of series does not grow with the cluster. Alerts on these metrics:
[alerting.md](alerting.md).

| metric | type | labels | meaning |
|---|---|---|---|
"""

ACCESS_HEAD = f"""# Access to the cluster

Made from the code by `python .ci/references.py write`; do not edit.

The first table of rights is all that Lastgood may do in the cluster. Tests hold it to the chart's roles and to the calls that the
code makes, each in both directions. They also take away one right after the other, on a real API server too, to see that
something says so.

## Ask

```sh
kubectl -n lastgood exec deploy/lastgood -- lastgood check-access
lastgood check-access --config lastgood.yaml
```

`check-access` asks the API server itself what the credential may do (SelfSubjectAccessReview), and compares that with what the
configuration needs. It needs no running daemon and changes nothing. In the pod the credential is the daemon's own; outside it is
that of `kubernetes` in the configuration, usually a kubeconfig. No secret is needed: where the configuration names a
`secrets_dir` that is not there, set `LASTGOOD_SECRETS_DIR` to an empty folder.

| answer | meaning |
|---|---|
| yes | needed, and there |
| no | needed, and missing: the row has the chart's value and the commands that grant it; the exit code is 1 |
| no (optional) | Lastgood works without it, and says what it could not look at |
| more than needed | there, and nothing that the configuration asks for needs it; the exit code stays 0 |

- Reading is needed in all namespaces, for every kind of workload that is watched. A right to change something is needed where the
  policy puts some workload into `approve` or `auto`, and nowhere else: with `observe` everywhere it is more than needed. `delete`
  on pods is needed only where `policy.delete_stuck_pods` is true besides. `patch` on Services is needed only where a Service is
  annotated as blue/green, which no configuration tells: it is optional.
- `get` and `patch` on Applications, Kustomizations and HelmReleases are needed where `policy.gitops` names `argocd-rollback` or
  `flux-suspend` and something is armed. These objects are where their controller has them: held in any namespace, the right is
  there.
- The rights to the Lease are needed where `lease.enabled` is true, and asked for nowhere else: `create` in its namespace, the
  others by its name. Where neither `lease.namespace` nor a pod says the namespace, a note says that they were not asked for.
- Where a right to change something is not held in all namespaces, it is asked for one by one, in at most {NAMESPACES_MAX} of
  them, those that the policy names first. What else would be too much (the last table) is asked for all namespaces at once: a
  RoleBinding of it in a single one is not found.
- The policy's modes count, not the annotations that lower them. `kube-system` counts where the policy names it.

## What it needs

| apiGroup | resource | verbs | where | needed for | from mode | given by | what is done with it |
|---|---|---|---|---|---|---|---|
"""

ACCESS_MORE = """
`rbac.` and `config.` are values of the chart; `system:basic-user` is bound to every user by Kubernetes itself.

## What no mode needs

`check-access` looks for these too, because they change workloads, read Secrets or lead to more rights:

| apiGroup | resource | verbs |
|---|---|---|
"""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting or section, as it is shown."""

    path: str
    kind: str
    default: str
    variable: str
    is_section: bool = False


def settings() -> list[Setting]:
    """Every section and setting, in the order of the code."""
    return list(_below(Settings, ""))


def _below(model: type[BaseModel], above: str) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        path = f"{above}{name}"
        hint = policy_section.model() if info.annotation is Policy else info.annotation
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            yield Setting(path=path, kind="section", default="", variable=_variable(path), is_section=True)
            yield from _below(hint, f"{path}.")
            continue
        yield Setting(path=path, kind=_kind(info), default=_default(info), variable=_variable(path))
        for inner, step in _models_in(hint, ""):
            yield from _below(inner, f"{path}{step}.")


def _variable(path: str) -> str:
    """The environment variable of a path; none below a list, which a variable replaces as a whole."""
    return "" if "[]" in path else PREFIX + path.replace(".", DELIMITER).upper()


def _models_in(hint: Any, step: str) -> Iterator[tuple[type[BaseModel], str]]:
    """The models in a list or mapping of them, with what leads there: `[]`, or `.NAME`."""
    if isinstance(hint, type) and not get_args(hint) and issubclass(hint, BaseModel):
        yield hint, step
        return
    deeper = {tuple: step + "[]", dict: step + ".NAME", Mapping: step + ".NAME"}.get(get_origin(hint), step)
    for part in get_args(hint):
        yield from _models_in(part, deeper)


def _kind(info: FieldInfo) -> str:
    """What may be written, in words, with its limits."""
    return _named(info.annotation, tuple(info.metadata)) + _limits(info.metadata)


def _named(hint: Any, checks: tuple[Any, ...] = ()) -> str:
    origin, parts = get_origin(hint), [part for part in get_args(hint) if part is not type(None)]
    functions = {getattr(getattr(check, "func", None), "__name__", "") for check in checks}
    if origin is Annotated:
        return _named(parts[0], tuple(parts[1:]))
    if origin is Literal:
        return _choice(parts)
    if origin is tuple and parts[1:] == [...]:
        pair = get_args(parts[0])
        return f"mapping of text to {_named(pair[1])}" if _is_pair(parts[0]) else f"list of {_named(parts[0])}"
    if origin in {dict, Mapping} and len(parts) == 2:
        return f"mapping of name to {_named(parts[1])}"
    if parts:  # an optional one
        return _named(parts[0], checks)
    if isinstance(hint, type):
        return _plain(hint, checks, functions)
    return str(hint)


def _is_pair(hint: Any) -> bool:
    return get_origin(hint) is tuple and get_args(hint)[:1] == (str,) and len(get_args(hint)) == 2


def _plain(hint: type, checks: tuple[Any, ...], functions: set[str]) -> str:
    if hint is timedelta:
        return (
            "duration or 0" if any(getattr(check, "func", None) is duration_or_zero for check in checks) else "duration"
        )
    if hint is str and functions & {"_url", "_broker"}:
        return "URL"
    if issubclass(hint, Enum):
        return _choice([each.value for each in hint])
    if issubclass(hint, BaseModel):
        return "mapping (see below)"
    words: Mapping[type, str] = {
        bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", SecretStr: "secret",
    }  # fmt: skip
    return words.get(hint, "namespace/Kind/name" if hint.__name__ == "Workload" else hint.__name__)


def _choice(values: list[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _limits(checks: list[Any]) -> str:
    found = {
        name: getattr(check, name) for check in checks for name in ("ge", "le", "gt", "lt") if hasattr(check, name)
    }
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return "".join(f", {words[name]} {value}" for name, value in found.items())


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value == () and _kind(info).startswith("mapping"):
        return "`{}`"
    return "unset" if value is None else f"`{_written(value)}`"


def _written(value: Any) -> str:
    """A default as one would write it in the file."""
    if isinstance(value, timedelta):
        return render(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        if any(isinstance(item, Mapping) for item in value.values()):
            return f"{{{', '.join(value)}}}"
        return "{" + ", ".join(f"{name}: {_written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return _written(dict(value))
        return "[" + ", ".join(_written(item) for item in value) + "]"
    return str(value)


def texts() -> dict[str, str]:
    """What each section and setting means, by its path."""
    found = yaml.safe_load((ROOT / TEXTS).read_text(encoding="utf-8"))
    return {str(path): " ".join(str(text).split()) for path, text in found.items()}


def unexplained(found: list[Setting], told: Mapping[str, str]) -> list[str]:
    """Settings without a meaning and meanings without a setting, a sentence each."""
    paths = [each.path for each in found]
    missing = [
        f"{path}: no meaning; add a line `{path}: what it does` to {TEXTS}" for path in paths if not told.get(path)
    ]
    return missing + [
        f"{path}: there is no such setting; remove its line from {TEXTS}" for path in told if path not in paths
    ]


def configuration() -> str:
    """The whole of configuration.md."""
    told, found = texts(), settings()
    parts = [CONFIGURATION_HEAD, "\n## Top level\n", *_table([each for each in found if "." not in each.path], told)]
    for section in (each for each in found if each.is_section and "." not in each.path):
        rows = [each for each in found if each.path.startswith(f"{section.path}.")]
        parts += [f"\n## {section.path}\n", f"\n{told.get(section.path, '')}\n", *_table(rows, told)]
        if section.path == "policy":
            parts += _signals()
    return "".join(parts)


def _table(rows: list[Setting], told: Mapping[str, str]) -> Iterator[str]:
    yield "\n| setting | what may be written | default | meaning |\n|---|---|---|---|\n"
    for each in rows:
        if each.is_section and "." not in each.path:
            yield f"| [`{each.path}`](#{each.path}) | section | | {_cell(told.get(each.path, ''))} |\n"
            continue
        variable = f"<br>`{each.variable}`" if each.variable else ""
        cells = (f"`{each.path}`{variable}", each.kind, each.default, told.get(each.path, ""))
        yield f"| {' | '.join(map(_cell, cells))} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _signals() -> Iterator[str]:
    head = "\n\n| signal | kind | query |\n|---|---|---|\n"
    yield "\nThe signals that are measured when none is given. Each is measured by the metrics that are found "
    yield f"([signals.md](signals.md)), and by this query where none is:{head}"
    yield from map(_signal, DEFAULT_SIGNALS)
    yield f"\nMeasured as well where they are named (`cpu: {{}}` is enough):{head}"
    yield from map(_signal, SATURATION_SIGNALS)


def _signal(rule: SignalRule) -> str:
    return f"| `{rule.name}` | {rule.kind.value} | `{_cell(rule.query)}` |\n"


def metrics() -> str:
    """The whole of metrics.md."""
    return METRICS_HEAD + "".join(_rows_of_metrics())


def _rows_of_metrics() -> Iterator[str]:
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        values: dict[str, dict[str, None]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    values.setdefault(label, {})[value] = None
        labels = "<br>".join(f"`{label}`: {_some(list(found))}" for label, found in values.items())
        yield f"| `{name}` | {family.type} | {labels} | {_cell(family.documentation)} |\n"


def _some(values: list[str]) -> str:
    if len(values) <= VALUES_SHOWN_MAX:
        return ", ".join(values)
    return f"{', '.join(values[:3])}, … ({len(values)} in all)"


def access() -> str:
    """The whole of access.md."""
    needed: dict[tuple[str, ...], list[str]] = {}
    for right in RIGHTS:
        needed.setdefault(_told(right), []).append(right.verb)
    rows = [(group, resource, ", ".join(verbs), *rest) for (group, resource, *rest), verbs in needed.items()]
    never: dict[tuple[str, str], list[str]] = {}
    for verb, group, resource in NEVER_NEEDED:
        never.setdefault((group or '""', resource), []).append(verb)
    more = [(*what, ", ".join(verbs)) for what, verbs in never.items()]
    return ACCESS_HEAD + _lines(rows) + ACCESS_MORE + _lines(more)


def _told(right: Right) -> tuple[str, ...]:
    place, given = right.place.value, f"`{right.grant.value}`"
    return right.group or '""', right.resource, place, right.feature.value, right.since.value, given, right.why


def _lines(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in rows)


def documents() -> dict[str, str]:
    """What each file must hold, by its path."""
    return {CONFIGURATION: configuration(), METRICS: metrics(), ACCESS: access()}


def faults() -> list[str]:
    """What is wrong with the files, a sentence each."""
    found = unexplained(settings(), texts())
    for path, content in documents().items():
        file = ROOT / path
        if not file.exists() or file.read_text(encoding="utf-8") != content:
            found.append(f"{path}: not what the code says; {REMEDY}")
    return found


def main() -> int:
    """Exit code 0 when all files are fresh and complete, 1 when not, 2 for a wrong call."""
    if sys.argv[1:] == ["write"]:
        for path, content in documents().items():
            (ROOT / path).write_text(content, encoding="utf-8")
    elif sys.argv[1:] != ["check"]:
        print("usage: references.py check|write")
        return 2
    found = faults()
    print("\n".join(found) or f"references: fresh ({', '.join(documents())})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
