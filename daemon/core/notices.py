"""What pipelines say about a rollout: a notice, and which rollout it belongs to.

A notice only informs: the cluster's own view stays the truth of what runs (a broker loses messages, a pipeline is wrong about
its cluster). Whether one may also open an incident is a permission of its sender (`may_cause`), off unless configured.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from daemon.core.model import Owner, Revision, Workload, WorkloadView

NAME_WINDOW = timedelta(minutes=15)
"""How far a notice's moment may lie before a rollout's begin, or after its end, when only the name joins the two. Pipelines
tell before they apply and after they waited for convergence (10 minutes by default)."""

SKEW = timedelta(minutes=2)
"""How far the clocks of pipelines and cluster are apart at most, and how late "started" is told."""

OWNER_SKEW = timedelta(seconds=10)
"""How far a notice that names only the owner may lie before a rollout's begin: GitOps controllers tell after they applied, and
an owner tells of every commit, so one told earlier is of the commit before."""

DIGEST_WINDOW = timedelta(hours=24)
"""The same where the artefact's digest joins them: a build is often announced hours before it is rolled out."""

OWN_WORDS = "Rolled back by Lastgood"
"""How every answer of ours to a pipeline begins. The vendor's webhook tells us of it too, and by these words it is no news."""

ASSUMED_KIND = "Deployment"
"""What a sender means that writes no kind, or that knows of no other."""

NOTICES_PER_ROLLOUT_MAX = 8
"""Notices kept per rollout: started, finished and failed from two senders fit; a pipeline in a loop shall not fill it."""


class NoticeStatus(StrEnum):
    """What the sender says the deployment does."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class Vendor(StrEnum):
    """Pipelines that can be answered."""

    GITHUB = "github"
    GITLAB = "gitlab"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the pipeline hears back: the deployment's own id at its vendor, in `project` (owner/repo, or a GitLab path)."""

    vendor: Vendor
    project: str
    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One deployment event of one sender. `source` and `id` together are its identity: the same twice is one.

    `source` is the sender's name in the configuration, `id` its own delivery or event id, `at` when it says that it happened
    (aware). `owner` stands in place of `workload` where the sender knows only what it reconciled (an Argo CD Application, a Flux
    Kustomization or HelmRelease): it speaks of all workloads that carry the owner's mark. `images` are references as in a pod
    spec, `digests` are `sha256:…`. Text is as sent, cut to the limits of the edge.
    """

    source: str
    id: str
    status: NoticeStatus
    at: datetime
    workload: Workload | None = None
    images: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    version: str | None = None
    commit: str | None = None
    author: str | None = None
    environment: str | None = None
    description: str | None = None
    pipeline_url: str | None = None
    change_url: str | None = None
    irreversible: bool = False
    may_cause: bool = False
    origin: Origin | None = None
    owner: Owner | None = None

    @property
    def key(self) -> str:
        """`source/id`, the identity in state and journal."""
        return f"{self.source}/{self.id}"


def digests_of(revision: Revision) -> frozenset[str]:
    """Every `sha256:…` a revision is known by: of its running images, and those its template pins."""
    pinned = (image.rpartition("@")[2] for image in revision.images if "@" in image)
    running = (digest.rpartition("@")[2] for digest in revision.digests)
    return frozenset((*pinned, *running))


def belongs(notice: Notice, view: WorkloadView, revision: Revision, began: datetime, ended: datetime | None) -> bool:
    """The notice speaks of this rollout of the workload in view: by digest, else by name and time (issue: digest, then name and
    time).

    A named workload must be this one, a named owner this one's. Where both sides know digests and share none, name and time do
    not count: that is another build. What an owner tells of images is of all its pods, those that are being replaced too: it
    says nothing of this rollout. `ended` is when the rollout converged, None while it runs.
    """
    if not _addresses(notice, view):
        return False
    if notice.owner is not None:
        return began - OWNER_SKEW <= notice.at <= _latest(notice, began, ended)
    known, said = digests_of(revision), frozenset(notice.digests)
    if known & said:
        return abs(notice.at - began) <= DIGEST_WINDOW
    if notice.workload is None or (known and said) or _other_image(notice, revision):
        return False
    return began - NAME_WINDOW <= notice.at <= _latest(notice, began, ended)


def _addresses(notice: Notice, view: WorkloadView) -> bool:
    """What the notice names is this workload, or its owner; one that names neither may speak of any."""
    if notice.workload is not None and not may_mean(notice.workload, view.workload):
        return False
    return notice.owner is None or notice.owner == view.owner


def may_mean(named: Workload, workload: Workload) -> bool:
    """It is the one that was named; or only its name was, and then nothing else of that name may be known."""
    assumed = named.kind == ASSUMED_KIND and named.short == workload.short
    return assumed or named.key == workload.key


def _latest(notice: Notice, began: datetime, ended: datetime | None) -> datetime:
    """Until when it may be said of a rollout. What starts after a rollout is there is the next one, which has yet to come; but an
    owner tells once it has applied everything, and the first of its rollouts may be there by then.
    """
    if notice.status is NoticeStatus.STARTED:
        if notice.owner is not None:
            return began + SKEW
        return min(began + SKEW, ended or began + SKEW)
    return (ended or notice.at) + NAME_WINDOW


def _other_image(notice: Notice, revision: Revision) -> bool:
    """The notice names images, and none of them is of this revision."""
    named = {image for image in notice.images if "@" not in image}
    return bool(named) and not any(
        image == own or own.endswith(f"/{image}") for image in named for own in revision.images
    )


def first(notices: tuple[Notice, ...], attribute: str) -> str | None:
    """The newest notice's word on an attribute (`commit`, `author`, `change_url`, …), None where none says it."""
    values = (getattr(notice, attribute) for notice in reversed(notices))
    return next((str(value) for value in values if value), None)


def links_of(notices: tuple[Notice, ...]) -> tuple[tuple[str, str], ...]:
    """(text, URL) of the change and of its pipeline, as far as a notice says."""
    named = (("Change", first(notices, "change_url")), ("Pipeline", first(notices, "pipeline_url")))
    return tuple((text, url) for text, url in named if url)
