"""What the chart renders: the shape that a cluster takes, the safety that it promises, and settings that load."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from daemon.app import FLUSH_SECONDS
from handlers.server import ServerLimits
from tests.packaging.chart import CHART, EVERYTHING, TOKEN, Obj, RefusedError, loaded, notes, one, render, settings_of
from tests.packaging.shapes import MODELS, unknown_fields
from tests.parts import HELM
from tests.repository import ROOT

pytestmark = pytest.mark.real

LEASE, DATABASE = "config.lease.enabled=true", "journal.postgres.secretName=lastgood-db-app"
SEVERAL = ("replicas=3", LEASE, DATABASE)
VARIANTS = [(), ("rbac.mode=act",), EVERYTHING, ("persistence.enabled=false", "networkPolicy.enabled=false"), SEVERAL]


@pytest.fixture(params=VARIANTS, ids=["as shipped", "act", "everything", "without", "several"])
def objects(request: pytest.FixtureRequest) -> list[Obj]:
    """The chart in one variant."""
    return render(*request.param)


def pod_of(objects: list[Obj]) -> Obj:
    """The pod's spec."""
    spec: Obj = one(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def container_of(objects: list[Obj]) -> Obj:
    """The only container."""
    (container,) = pod_of(objects)["containers"]
    found: Obj = container
    return found


def test_every_field_is_one_that_kubernetes_knows(objects: list[Obj]) -> None:
    """No field is misspelt or misplaced: a server would drop it with a warning that nobody reads."""
    own = [each for each in objects if (each["apiVersion"], each["kind"]) in MODELS]
    assert {each["apiVersion"] for each in objects if each not in own} <= {
        "monitoring.coreos.com/v1",
        "monitoring.coreos.com/v1alpha1",
    }
    assert [fault for each in own for fault in unknown_fields(each)] == []


def test_labels_are_the_recommended_ones_and_selectors_find_the_pod(objects: list[Obj]) -> None:
    """Everything carries the recommended labels; selectors hold name and instance only, and match the pod."""
    for each in objects:
        labels = each["metadata"]["labels"]
        names = {f"app.kubernetes.io/{name}" for name in "name instance version component part-of managed-by".split()}
        assert {*names, "helm.sh/chart"} <= set(labels), each["kind"]
        assert each["metadata"].get("namespace") == ("ops" if not each["kind"].startswith("Cluster") else None)
    deployment = one(objects, "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert set(selector) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert one(objects, "Service")["spec"]["selector"] == selector
    for each in objects:
        if each["kind"] in {"NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor"}:
            found = each["spec"].get("podSelector") or each["spec"]["selector"]
            assert found == {"matchLabels": selector}, each["kind"]


def test_the_pod_keeps_the_restricted_standard(objects: list[Obj]) -> None:
    """Pod Security "restricted", and a root file system that cannot be written; what must be is a volume."""
    pod, container = pod_of(objects), container_of(objects)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
    assert kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp", "/var/lib/lastgood"}


def test_a_daemon_on_a_file_is_alone(objects: list[Obj]) -> None:
    """Where the journal is in a claim there is one replica, and where there are more a Lease says which of them acts."""
    replicas, volumes = one(objects, "Deployment")["spec"]["replicas"], pod_of(objects)["volumes"]
    assert replicas == 1 or (
        yaml.safe_load(settings_of(objects))["lease"]["enabled"] is True
        and "persistentVolumeClaim" not in {key for volume in volumes for key in volume}
        and not [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    )


def test_two_releases_never_run_together(objects: list[Obj]) -> None:
    """The old pods have gone before the new ones start, one or several; a budget never blocks a drain."""
    assert one(objects, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    budgets = [each["spec"] for each in objects if each["kind"] == "PodDisruptionBudget"]
    assert all(budget["maxUnavailable"] == 1 and "minAvailable" not in budget for budget in budgets)


def test_several_replicas_do_not_fall_together(tmp_path: Path) -> None:
    """Three share a database, each with a folder of its own, on nodes of their own where there are some; a drain moves one."""
    objects = render(*SEVERAL, "podDisruptionBudget.enabled=true", "nameOverride=web")
    spec = one(objects, "Deployment")["spec"]
    assert spec["replicas"] == 3
    (spread,) = pod_of(objects)["topologySpreadConstraints"]
    assert spread["labelSelector"] == spec["selector"] == one(objects, "PodDisruptionBudget")["spec"]["selector"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert {volume["name"]: volume for volume in pod_of(objects)["volumes"]}["state"] == {
        "name": "state",
        "emptyDir": {},
    }
    assert one(objects, "Role")["rules"][1]["resourceNames"] == ["lastgood"]
    assert "topologySpreadConstraints" not in pod_of(render())


def test_the_notes_ask_the_one_that_leads() -> None:
    """What is shown after an install is asked of the pod that the Lease names, where there are several."""
    lease = ("config.lease.name=shop", "config.lease.namespace=locks")
    holder = "$(kubectl -n locks get lease shop -o jsonpath='{.spec.holderIdentity}' | cut -d_ -f1)"
    command = f'exec "{holder}" -- lastgood status'
    assert command in notes(*SEVERAL, *lease)
    assert "exec deploy/lastgood -- lastgood status" in notes()


def test_the_settings_in_the_config_map_are_valid(objects: list[Obj], tmp_path: Path) -> None:
    """The file, the pod's variables and a Secret with the one required key load, and agree with the mounts."""
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of(objects)["volumeMounts"]}
    environ = {each["name"]: each.get("value", "ops") for each in container_of(objects)["env"]}
    environ = {name: value.replace("$(POD_NAMESPACE)", "ops") for name, value in environ.items()}
    assert environ["LASTGOOD_CONFIG"] == f"{mounts['config']}/lastgood.yaml"
    assert yaml.safe_load(settings_of(objects))["secrets_dir"] == mounts["secrets"]
    settings = loaded(objects, tmp_path, environ)
    assert settings.state_dir == Path(mounts["state"])
    assert settings.server.webhook_tokens["alertmanager"].get_secret_value() == "a-token"
    assert settings.policy.own_workload == "ops/" + one(objects, "Deployment")["metadata"]["name"]
    assert settings.server.port == container_of(objects)["ports"][0]["containerPort"]
    assert not settings.server.is_loopback
    grace = timedelta(seconds=pod_of(objects)["terminationGracePeriodSeconds"])
    last = timedelta(seconds=FLUSH_SECONDS + ServerLimits().shutdown_seconds)
    assert grace > settings.limits.drain + last


def test_the_probes_ask_routes_that_exist(objects: list[Obj]) -> None:
    """Liveness depends on nothing outside; readiness is the daemon's own word. Both are served by handlers/server.py."""
    container = container_of(objects)
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startup": "/-/healthy",
        "liveness": "/-/healthy",
        "readiness": "/-/ready",
    }
    served = (ROOT / "handlers/server.py").read_text()
    assert all(f'"{probe["path"]}"' in served for probe in asked.values())
    assert {probe["port"] for probe in asked.values()} == {container["ports"][0]["name"]}
    assert container["args"] == ["run"]
    assert pod_of(objects)["enableServiceLinks"] is False


def test_the_parts_fit_each_other() -> None:
    """Claim, Secret, account, Service and the Alertmanager route are named by what uses them."""
    objects = render(*EVERYTHING)
    pod = pod_of(objects)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert (
        volumes["state"]["persistentVolumeClaim"]["claimName"]
        == one(objects, "PersistentVolumeClaim")["metadata"]["name"]
    )
    assert pod["serviceAccountName"] == one(objects, "ServiceAccount")["metadata"]["name"]
    service = one(objects, "Service")
    assert service["spec"]["ports"][0]["targetPort"] == container_of(objects)["ports"][0]["name"]
    assert one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    hook = one(objects, "AlertmanagerConfig")["spec"]["receivers"][0]["webhookConfigs"][0]
    assert hook["url"] == f"http://{service['metadata']['name']}.ops.svc:9095/api/v1/alertmanager"
    assert hook["httpConfig"]["authorization"]["credentials"] == {
        "name": volumes["secrets"]["secret"]["secretName"],
        "key": TOKEN,
    }
    assert '"/api/v1/alertmanager"' in (ROOT / "handlers/inbound/alertmanager.py").read_text()


def test_rules_and_dashboard_are_the_files_of_the_chart() -> None:
    """What is templated into the cluster is what promtool and Grafana were given, untouched by the template language."""
    objects = render(*EVERYTHING, "prometheusRule.labels.release=kps", "dashboard.labels.team=sre")
    rule = one(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files/prometheus-rules.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == "kps"
    board = one(objects, "ConfigMap", "lastgood-dashboard")
    assert board["data"]["lastgood.json"].strip() == (CHART / "files/dashboard.json").read_text().strip()
    assert board["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "team": "sre"}.items()
    assert board["metadata"]["annotations"] == {"grafana_folder": "Deploys"}


def test_other_settings_are_carried_over_as_they_were_written(tmp_path: Path) -> None:
    """Numbers stay whole, lists stay lists, and what the chart fills in wins over nothing that the user said."""
    objects = render(
        "config.server.body_limit=33554432",
        "config.server.webhook_anonymous=true",
        "config.policy.soak=30m",
        "config.policy.modes[0].namespaces={shop}",
        "config.policy.modes[0].mode=approve",
        "config.policy.blame_threshold=0.4",
        "rbac.mode=act",
    )
    settings = loaded(objects, tmp_path)
    assert settings.server.body_limit == 32 * 2**20
    assert settings.policy.soak == timedelta(minutes=30)
    assert settings.policy.modes[0].namespaces == ("shop",)
    assert settings.policy.blame_threshold == 0.4


REFUSED = [
    ((), (), "config.cluster"),
    (("config.cluster=x",), (), "config.prometheus.url"),
    ((), ("rbac.mod=act",), "rbac"),
    ((), ("rbac.mode=both",), "/rbac/mode"),
    ((), ("config.state_dir=/elsewhere",), "/config/state_dir"),
    ((), ("config.policy.default_mode=auto",), "rbac.mode"),
    ((), ("config.policy.modes[0].mode=approve",), "rbac.mode"),
    ((), ("rbac.deletePods=true",), "rbac.deletePods"),
    ((), ("rbac.switchServices=true",), "rbac.switchServices"),
    ((), ("rbac.gitops=true",), "rbac.gitops"),
    (
        (),
        ("rbac.mode=act", "config.policy.default_mode=auto", "config.policy.gitops[0].do=flux-suspend"),
        "config.policy.gitops",
    ),
    (
        (),
        ("rbac.mode=act", "config.policy.default_mode=auto", "config.policy.delete_stuck_pods=true"),
        "config.policy.delete_stuck_pods",
    ),
    ((), ("replicas=2",), "replicas: is 2, but config.lease.enabled is not true"),
    ((), ("replicas=2", DATABASE), "set config.lease.enabled=true"),
    ((), ("replicas=2", LEASE), "set journal.postgres.secretName"),
    ((), ("replicas=0",), "/replicas"),
    ((), ("replicas=6", LEASE, DATABASE), "/replicas"),
    ((), ("image.digest=latest",), "/image/digest"),
    ((), ("terminationGracePeriodSeconds=5",), "/terminationGracePeriodSeconds"),
]


@pytest.mark.parametrize(("minimal", "values", "named"), REFUSED)
def test_values_that_cannot_work_are_refused_by_name(
    minimal: tuple[str, ...], values: tuple[str, ...], named: str
) -> None:
    """A missing name, a misspelt key, and a policy that arms under a role that may not act fail before the cluster."""
    with pytest.raises(RefusedError, match=re.escape(named)):
        render(*values) if values else render(minimal=minimal)


def test_every_value_is_in_the_schema() -> None:
    """What may be set is what values.yaml shows, level by level; `global` is what an umbrella chart hands down."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(schema) == {*values, "global"}
    for name, value in values.items():
        if schema[name].get("additionalProperties") is False:
            assert set(schema[name]["properties"]) == set(value), name


def test_the_chart_is_of_this_version() -> None:
    """The image's default tag is the version of the code beside it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version
    assert container_of(render())["image"] == f"lastgood:{version}"
    digest = "sha256:" + "0" * 64
    assert container_of(render(f"image.digest={digest}", "image.tag=x"))["image"] == f"lastgood@{digest}"


def test_ci_builds_the_helm_that_is_asked_for() -> None:
    """One version of helm: the remedy's and CI's."""
    assert f"helm={HELM}\n" in (ROOT / ".ci/run").read_text()


def test_the_image_and_the_pod_agree_on_user_and_paths() -> None:
    """The Dockerfile's user, port, entry point and configuration are what the Deployment counts on."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    objects = render()
    user = pod_of(objects)["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}\n" in dockerfile
    assert "EXPOSE 9095\n" in dockerfile
    assert 'ENTRYPOINT ["lastgood"]\n' in dockerfile
