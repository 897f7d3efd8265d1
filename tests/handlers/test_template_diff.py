"""What a person reads before a rollback: what changes is seen, what is secret is not."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.template_diff import COMPARED_MAX, LINES_MAX, template_diff


def template(args: list[str], **env: str) -> dict[str, Any]:
    listed = [{"name": name, "value": value} for name, value in env.items()]
    return {"spec": {"containers": [{"name": "main", "args": args, "env": listed}]}}


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (template([], DB_PASSWORD="hunter1"), template([], DB_PASSWORD="hunter2"), "DB_PASSWORD"),
        (template([], PGPWD="hunter1"), template([], PGPWD="hunter2"), "PGPWD"),
        (template(["--db-password=hunter1"]), template(["--db-password=hunter2"]), "--db-password="),
        (template(["--api-key hunter1"]), template(["--api-key hunter2"]), "--api-key "),
        (
            template([], DATABASE_URL="postgres://shop:hunter1@db/shop"),
            template([], DATABASE_URL="postgres://shop:hunter2@db/shop"),
            "postgres://shop:(not shown: ",
        ),
    ],
)
def test_a_secret_that_changes(old: dict[str, Any], new: dict[str, Any], kept: str) -> None:
    """That it changes is seen on two lines with different hashes, and neither word is."""
    lines = template_diff(old, new)
    text = "\n".join(lines)
    assert "hunter" not in text
    assert kept in text
    assert text.count("(not shown: ") == 2
    assert len({line[1:] for line in lines if "(not shown: " in line}) == 2


def test_everything_else_is_shown() -> None:
    """Addresses and flags without a secret stand as they are."""
    lines = template_diff(template(["--port=80", "http://a:80/b"]), template(["--port=81", "http://a:81/c@2"]))
    assert {"-    - --port=80", "+    - --port=81", "-    - http://a:80/b", "+    - http://a:81/c@2"} <= set(lines)


def test_a_huge_template_costs_no_minute() -> None:
    """Of 3,000 lines that all differ the first are compared, and that there are more is said."""
    old, new = (template([], **{f"A{number}": f"{word} {number}" for number in range(1500)}) for word in ("old", "new"))
    lines = template_diff(old, new)
    assert len(lines) == LINES_MAX + 2
    assert lines[-1] == f"… and there are differences beyond line {COMPARED_MAX}"
    assert len(template_diff(old, old)) == 0
