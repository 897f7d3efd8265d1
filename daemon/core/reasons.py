"""Every way out of a decision, once: the name is the metric label, the sentence is what people read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a verdict is what it is, or why a guard refused. `sentence` is for people, the value for machines."""

    # why a verdict was reached
    BLAMED_START_FAILURE = "blamed_start_failure"
    BLAMED_CONTRAST = "blamed_contrast"
    BLAMED_BEFORE_AFTER = "blamed_before_after"
    BLAMED_TIMING = "blamed_timing"
    NO_CANDIDATE = "no_candidate"
    SYMPTOM_OLDER = "symptom_older"
    SYMPTOM_GONE = "symptom_gone"
    NOTHING_BLAMED = "nothing_blamed"
    NO_DATA = "no_data"
    DECIDE_DEADLINE = "decide_deadline"
    MERGED = "merged"
    # guards
    MODE_OBSERVE = "mode_observe"
    MODE_APPROVE = "mode_approve"
    PAUSED = "paused"
    LOW_TRAFFIC = "low_traffic"
    NO_CONTRAST = "no_contrast"
    ONSET_ASSUMED = "onset_assumed"
    TARGET_UNCHECKED = "target_unchecked"
    CONFIG_CHANGED = "config_changed"
    BLAST_RADIUS = "blast_radius"
    COOLING_DOWN = "cooling_down"
    TARGET_SKIPS = "target_skips"
    PROOF_OLD = "proof_old"
    PROOF_HEALTH_ONLY = "proof_health_only"
    MAPPED_BY_NAMESPACE = "mapped_by_namespace"
    AMBIGUOUS = "ambiguous"
    REGRESSION = "regression"
    DATA_AT_RISK = "data_at_risk"
    TARGET_NOT_VERIFIED = "target_not_verified"
    TARGET_GONE = "target_gone"
    OUT_OF_REACH = "out_of_reach"
    NO_PERMISSION = "no_permission"
    ROLLOUT_PAUSED = "rollout_paused"
    ON_DELETE = "on_delete"
    RESTART_ONLY = "restart_only"
    OWNED_BY_GITOPS = "owned_by_gitops"
    OWNED_BY_OPERATOR = "owned_by_operator"
    IRREVERSIBLE = "irreversible"
    ROLLBACK_OF_ROLLBACK = "rollback_of_rollback"
    TOO_OLD = "too_old"
    COMMON_CAUSE = "common_cause"
    PROTECTED = "protected"
    SUPERSEDED = "superseded"
    # how later phases end
    APPROVED = "approved"
    ASKED = "asked"
    DECLARED = "declared"
    DECLINED = "declined"
    COUNTDOWN_OVER = "countdown_over"
    APPROVE_DEADLINE = "approve_deadline"
    CONVERGED = "converged"
    CONVERGE_DEADLINE = "converge_deadline"
    ROLLBACK_FAILED = "rollback_failed"
    REVERTED = "reverted"
    RECOVERED = "recovered"
    NOT_RECOVERED = "not_recovered"
    VERIFY_INCONCLUSIVE = "verify_inconclusive"
    CLOSED_BY_PERSON = "closed_by_person"

    @property
    def sentence(self) -> str:
        """What it means, in one sentence for the on-call."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.BLAMED_START_FAILURE: "The new revision's pods cannot start, the old ones ran.",
    Reason.BLAMED_CONTRAST: "The new revision's pods are bad while the old ones are good in the same minutes.",
    Reason.BLAMED_BEFORE_AFTER: "It got worse with the rollout, but nothing is left to compare it with at the same time.",
    Reason.BLAMED_TIMING: "Only the timing points at this rollout.",
    Reason.NO_CANDIDATE: "No rollout of this workload happened in the window before the anomaly began.",
    Reason.SYMPTOM_OLDER: "The anomaly began before the rollout did.",
    Reason.SYMPTOM_GONE: "The alert is gone and fresh data is good.",
    Reason.NOTHING_BLAMED: "No candidate reaches the threshold of evidence.",
    Reason.NO_DATA: "The data that a judgement needs is missing.",
    Reason.DECIDE_DEADLINE: "The evidence did not suffice before the deadline for a decision.",
    Reason.MERGED: "Another open incident blames the same revision; this one joined it.",
    Reason.MODE_OBSERVE: "This workload is in mode observe: Lastgood only records and announces.",
    Reason.MODE_APPROVE: "This workload is in mode approve: a person must confirm.",
    Reason.PAUSED: "Lastgood is paused here.",
    Reason.LOW_TRAFFIC: "There is too little traffic to judge.",
    Reason.NO_CONTRAST: "Old and new pods have not been compared in the same minutes.",
    Reason.ONSET_ASSUMED: "When the anomaly began is only assumed, and it may be older than the rollout.",
    Reason.TARGET_UNCHECKED: "Whether the target can still be deployed has not been checked yet.",
    Reason.CONFIG_CHANGED: "A ConfigMap the target uses has changed since it last served healthily.",
    Reason.BLAST_RADIUS: "The limit of rollbacks per hour is reached.",
    Reason.COOLING_DOWN: "This workload was already rolled back and no later revision has been verified.",
    Reason.TARGET_SKIPS: "The revision that was replaced is not verified; the target lies further back.",
    Reason.PROOF_OLD: "The target's proof is too old.",
    Reason.PROOF_HEALTH_ONLY: "The target is proven by health only, without enough traffic.",
    Reason.MAPPED_BY_NAMESPACE: "The alert names only a namespace, not a workload.",
    Reason.AMBIGUOUS: "Another rollout is nearly as suspicious.",
    Reason.REGRESSION: "The revision was verified and turned unhealthy later; no alert says so.",
    Reason.DATA_AT_RISK: "Data is declared to be at risk: an older revision may not understand it.",
    Reason.TARGET_NOT_VERIFIED: "There is no verified revision to go back to.",
    Reason.TARGET_GONE: "The target cannot be deployed any more.",
    Reason.OUT_OF_REACH: "Lastgood has no way from here to the target; a person has.",
    Reason.NO_PERMISSION: "Lastgood's role does not let it patch this workload.",
    Reason.ROLLOUT_PAUSED: "The rollout is paused in the workload's spec: a person is driving.",
    Reason.ON_DELETE: "Its update strategy is OnDelete: a rollback reaches a pod only when somebody deletes it.",
    Reason.RESTART_ONLY: "The rollout was only a restart of the same images.",
    Reason.OWNED_BY_GITOPS: "A GitOps controller owns this workload and would revert a rollback.",
    Reason.OWNED_BY_OPERATOR: "An operator owns this workload and would revert a rollback.",
    Reason.IRREVERSIBLE: "The rollout is declared irreversible.",
    Reason.ROLLBACK_OF_ROLLBACK: "The rollout under suspicion is itself a rollback.",
    Reason.TOO_OLD: "The rollout is too long ago.",
    Reason.COMMON_CAUSE: "Old pods or unrelated workloads fail alike: the cause is not this rollout.",
    Reason.PROTECTED: "Lastgood never touches its own workload, nor kube-system unless the policy names it.",
    Reason.SUPERSEDED: "A newer rollout is under way.",
    Reason.APPROVED: "A person approved the rollback.",
    Reason.ASKED: "A person asked for this rollback.",
    Reason.DECLARED: "The rollout is declared to do harm, and only the declaration points at it.",
    Reason.DECLINED: "A person declined the rollback.",
    Reason.COUNTDOWN_OVER: "The countdown ran out and nothing spoke against it.",
    Reason.APPROVE_DEADLINE: "Nobody confirmed in time.",
    Reason.CONVERGED: "The workload runs the target revision.",
    Reason.CONVERGE_DEADLINE: "The rollback did not converge in time.",
    Reason.ROLLBACK_FAILED: "The rollback could not be carried out.",
    Reason.REVERTED: "The revision that was rolled back was written back, and the rollback is undone.",
    Reason.RECOVERED: "The symptom is gone and stayed away.",
    Reason.NOT_RECOVERED: "The symptom is still there after the rollback: the rollout is cleared of blame.",
    Reason.VERIFY_INCONCLUSIVE: "Whether the symptom is gone could not be told in time.",
    Reason.CLOSED_BY_PERSON: "A person closed the incident.",
}


NEVER_OVERRIDDEN = frozenset(
    {
        Reason.TARGET_NOT_VERIFIED,
        Reason.TARGET_GONE,
        Reason.OUT_OF_REACH,
        Reason.NO_PERMISSION,
        Reason.SUPERSEDED,
        Reason.PAUSED,
        Reason.ROLLBACK_OF_ROLLBACK,
        Reason.MODE_OBSERVE,
        Reason.PROTECTED,
    }
)
"""What no person may override (DESIGN, "Guards"); their guards say the same of each refusal."""


class Consequence(StrEnum):
    """What a refusal does: wait for data, ask a person, or hand the incident over; the last is the strongest."""

    HOLD = "hold"
    PROPOSE = "propose"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A guard's veto: the reason, what was seen and what would have been needed, and what it leads to."""

    reason: Reason
    consequence: Consequence
    seen: str
    needed: str
    overridable: bool = True

    def __str__(self) -> str:
        return f"{self.reason.upper()}: {self.reason.sentence} Seen: {self.seen}; needed: {self.needed}."
