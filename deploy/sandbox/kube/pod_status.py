"""The statuses a pod goes through, as a kubelet writes them. Pure: each function changes the pod it is given."""

from __future__ import annotations

from deploy.sandbox.kube.behaviours import image_digest
from deploy.sandbox.kube.errors import Json

Container = Json
"""One entry of ``status.containerStatuses``."""


def set_condition(pod: Json, kind: str, now: str, *, value: bool, reason: str = "", message: str = "") -> None:
    """Sets a condition; ``lastTransitionTime`` moves only when the value does."""
    conditions: list[Json] = pod["status"].setdefault("conditions", [])
    old = next((one for one in conditions if one["type"] == kind), None)
    state = str(value)
    since = old["lastTransitionTime"] if old is not None and old["status"] == state else now
    fresh: Json = {"type": kind, "status": state, "lastProbeTime": None, "lastTransitionTime": since}
    if reason:
        fresh.update(reason=reason, message=message)
    pod["status"]["conditions"] = [one for one in conditions if one["type"] != kind] + [fresh]


def unschedulable(pod: Json, now: str) -> None:
    """No node takes the pod: infrastructure, not the image."""
    message = "0/3 nodes are available: 3 Insufficient cpu."
    set_condition(pod, "PodScheduled", now, value=False, reason="Unschedulable", message=message)


def accepted(pod: Json, node_ip: str, now: str) -> None:
    """Scheduled and seen by its kubelet: every container is being created."""
    status = pod["status"]
    status.update(phase="Pending", hostIP=node_ip, hostIPs=[{"ip": node_ip}], startTime=now)
    status["containerStatuses"] = [_creating(one) for one in pod["spec"]["containers"]]
    set_condition(pod, "PodScheduled", now, value=True)
    set_condition(pod, "Initialized", now, value=True)
    readiness(pod, now)


def _creating(container: Json) -> Container:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
    }


def running(pod: Json, address: str, now: str, *, restarted: Container | None = None) -> None:
    """The pod runs: all containers (or only the one that was restarted) are up, and none of those is ready yet."""
    status = pod["status"]
    status.update(phase="Running", podIP=address, podIPs=[{"ip": address}])
    for one in status["containerStatuses"]:
        if restarted is not None and one["name"] != restarted["name"]:
            continue
        if "running" not in one["state"]:
            started(one, pod, now)
    readiness(pod, now)


def started(one: Container, pod: Json, now: str) -> None:
    """One container starts; the state it leaves becomes its last."""
    if "terminated" in one["state"]:
        one["lastState"] = {"terminated": one["state"]["terminated"]}
    digest = image_digest(one["image"])
    one.update(imageID=digest, started=True, ready=False, state={"running": {"startedAt": now}})
    one["containerID"] = f"sandbox://{pod['metadata']['uid']}-{one['name']}-{one['restartCount']}"


def terminated(one: Container, reason: str, exit_code: int, now: str) -> None:
    """One container ends."""
    since = one["state"].get("running", {}).get("startedAt", now)
    ended = {"exitCode": exit_code, "reason": reason, "startedAt": since, "finishedAt": now}
    one.update(ready=False, started=False, state={"terminated": {**ended, "containerID": one.get("containerID", "")}})


def waiting(one: Container, reason: str, message: str) -> None:
    """One container waits; a termination it comes from becomes its last state."""
    if "terminated" in one["state"]:
        one["lastState"] = {"terminated": one["state"]["terminated"]}
    one.update(ready=False, started=False, state={"waiting": {"reason": reason, "message": message}})


def readiness(pod: Json, now: str) -> None:
    """Derives ContainersReady and Ready from the containers."""
    unready = [one["name"] for one in pod["status"].get("containerStatuses") or [] if not one["ready"]]
    message = f"containers with unready status: [{' '.join(unready)}]"
    for kind in ("ContainersReady", "Ready"):
        set_condition(
            pod,
            kind,
            now,
            value=not unready,
            reason="ContainersNotReady" if unready else "",
            message=message,
        )


def container(pod: Json, name: str) -> Container:
    """The status of one container of the pod."""
    found: Container = next(one for one in pod["status"]["containerStatuses"] if one["name"] == name)
    return found
