"""What pipelines said of a rollout, as rows for `explain` and `history`. Pure: notices in, plain dicts out."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.core.notices import Notice
from handlers.overview import Document, cut, moment

_TEXTS = ("version", "commit", "author", "environment", "description", "pipeline_url", "change_url")


def rows(notices: Iterable[Notice]) -> list[Document]:
    """One row per notice, oldest first."""
    return [_row(notice) for notice in notices]


def _row(notice: Notice) -> Document:
    said = {name: getattr(notice, name) for name in _TEXTS}
    origin = notice.origin
    return {
        "source": cut(notice.source),
        "id": cut(notice.id),
        "status": notice.status.value,
        "at": moment(notice.at),
        "images": [cut(image) for image in notice.images],
        "digests": [cut(digest) for digest in notice.digests],
        **{name: cut(value) if value else None for name, value in said.items()},
        "irreversible": notice.irreversible,
        "vendor": origin.vendor.value if origin is not None else None,
        "deployment": cut(origin.deployment) if origin is not None else None,
    }
