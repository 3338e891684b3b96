"""What lies in deploy/ can be installed: unit, manifests and image agree with the program and with each other."""

import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from etl.config import load
from etl.errors import ConfigError
from tests.benchmarks.report import kept

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that it loads
    import kubernetes_validate

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "stp-etl.service"
BASE = DEPLOY / "k8s" / "base"
KUBERNETES = "1.32"
A_FURTHER_FEED_MIB = 20  # measured with two: what it reads ahead and its connections
MANIFESTS = sorted(path for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")


def manifest(name: str) -> dict[str, Any]:
    """Return the one object of the manifest of this name."""
    found = yaml.safe_load((BASE / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what each workload runs."""
    for name in ("deployment", "migrate"):
        yield name, manifest(name)["spec"]["template"]


@pytest.fixture
def unit(tmp_path):
    """The unit as the tools can check it on a machine where the program is not installed."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/stp-etl/bin/stp-etl", "/bin/true"))
    return copy


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(unit):
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=120)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_rates_the_unit_at_2_or_better(unit):
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout[-500:]
    rated = re.search(r"exposure level for stp-etl\.service: ([\d.]+)", done.stdout)
    assert rated is not None
    assert float(rated[1]) <= 2.0


def test_the_unit_leaves_the_file_that_the_metrics_of_the_process_need():
    # process_* on /metrics are reckoned from the start of the machine, in /proc/stat; without it there are none.
    assert "ProcSubset=pid" not in UNIT.read_text().splitlines()


def test_the_manager_waits_longer_than_the_program_takes_to_stop():
    grace_s = load(BASE / "stp-etl.toml", {}, feeds=False).ops.shutdown_grace_s
    seconds = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)

    assert seconds is not None
    assert int(seconds[1]) >= grace_s + 10
    assert manifest("deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= grace_s + 10


def test_what_the_unit_hands_over_is_what_the_program_reads(tmp_path):
    text = UNIT.read_text()
    given = {
        name: value.replace("%d", str(tmp_path)) for name, value in re.findall(r"(?m)^Environment=(\w+)=(.*)$", text)
    }
    for name in re.findall(r"(?m)^LoadCredential=([\w-]+):", text):
        (tmp_path / name).write_text("postgresql://db.example/x" if name == "database-url" else "secret")

    assert reads(given, tmp_path)


@pytest.mark.parametrize("name", ["deployment", "migrate"])
def test_what_a_pod_is_given_is_what_the_program_reads(name, tmp_path):
    (container,) = dict(pods())[name]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    for key, path in given.items():
        if key.endswith("_FILE"):
            file = tmp_path / Path(path).name
            file.write_text("postgresql://db.example/x" if "url" in file.name else "secret")
            given[key] = str(file)

    assert reads(given, tmp_path)


def reads(given: dict[str, str], folder: Path) -> bool:
    """Return whether the program starts with the settings of the base and these variables; each of them sets a key."""
    file = folder / "stp-etl.toml"
    shutil.copy(BASE / "stp-etl.toml", file)
    given["STP_ETL_CONFIG"] = str(file)
    wanted = {name for name in given if name.startswith("STP_ETL__")}
    try:
        found = load(None, given, feeds=any("FEEDS" in name for name in wanted))
    except ConfigError as error:
        pytest.fail(str(error))
    return set(found.source.variables) == wanted


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_keeps_to_the_published_schema(path):
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), KUBERNETES, strict=True)


def test_a_wrong_manifest_would_be_found():
    wrong = manifest("deployment")
    wrong["spec"]["replica"] = wrong["spec"].pop("replicas")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_the_kustomization_names_each_manifest_and_each_setting():
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())

    assert sorted(listed["resources"]) == [path.name for path in MANIFESTS]
    assert all((BASE / file).is_file() for each in listed["configMapGenerator"] for file in each["files"])


@needs_kubectl
@pytest.mark.parametrize("extra", [[], ["../../servicemonitor"]], ids=["base", "with the servicemonitor"])
def test_an_overlay_of_the_base_renders(extra, tmp_path):
    shutil.copytree(DEPLOY / "k8s", tmp_path / "k8s")
    overlay = tmp_path / "k8s" / "overlays" / "mine"
    overlay.mkdir(parents=True)
    (overlay / "stp-etl.toml").write_text("# mine\n")
    wanted = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "back-office",
        "resources": ["../../base"], "components": extra,
        "configMapGenerator": [{"name": "stp-etl-settings", "behavior": "replace", "files": ["stp-etl.toml"]}],
        "images": [{"name": "stp-etl", "newName": "images.example/stp-etl", "newTag": "9.9.9"}],
    }  # fmt: skip
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(wanted))

    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    assert {each["kind"] for each in rendered} >= {"Deployment", "Job", "Service", "NetworkPolicy", "ConfigMap"}
    assert ("ServiceMonitor" in {each["kind"] for each in rendered}) == bool(extra)
    assert {each["metadata"]["namespace"] for each in rendered} == {"back-office"}
    (settings,) = (each["metadata"]["name"] for each in rendered if each["kind"] == "ConfigMap")
    for each in rendered:
        if each["kind"] in ("Deployment", "Job"):
            spec = each["spec"]["template"]["spec"]
            assert spec["containers"][0]["image"] == "images.example/stp-etl:9.9.9"
            assert settings in [volume.get("configMap", {}).get("name") for volume in spec["volumes"]]


@pytest.mark.parametrize("name", ["deployment", "migrate"])
def test_a_pod_has_no_more_rights_than_it_needs(name):
    spec = dict(pods())[name]["spec"]
    (container,) = spec["containers"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["resources"]["limits"]["memory"]
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in spec["volumes"]}
    assert [each for each, mount in mounts.items() if not mount.get("readOnly")] == ["tmp"]
    assert not [each for each in container["env"] if "valueFrom" in each]  # a secret in a variable shows in listings


def mebibytes(limit: str) -> int:
    """Return the size that systemd or Kubernetes is told, in MiB."""
    size = re.fullmatch(r"(\d+)Mi?", limit)
    assert size is not None
    return int(size[1])


def test_the_memory_limits_hold_two_feeds_with_a_backlog_as_measured():
    measured = next(each.measured for each in kept(DEPLOY / "scaling.json") if each.what.startswith("peak RSS of both"))
    two_feeds = mebibytes(measured.replace(" MiB", "Mi")) + A_FURTHER_FEED_MIB
    unit = dict(re.findall(r"^(Memory\w+)=(\w+)$", UNIT.read_text(), re.MULTILINE))
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]

    assert two_feeds < mebibytes(unit["MemoryHigh"]) < mebibytes(unit["MemoryMax"])
    assert two_feeds < mebibytes(container["resources"]["limits"]["memory"])


def test_the_selectors_find_the_daemon_and_only_the_daemon():
    labels = {name: pod["metadata"]["labels"] for name, pod in pods()}
    selectors = [
        manifest("deployment")["spec"]["selector"]["matchLabels"],
        manifest("service")["spec"]["selector"],
        manifest("poddisruptionbudget")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels["deployment"].items()
        assert not selector.items() <= labels["migrate"].items()
    policy = manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"]
    assert all(policy.items() <= each.items() for each in labels.values())


def test_the_probes_ask_the_pages_that_are_meant_for_them():
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: get["path"] for kind, get in asked.items()} == {
        "startup": "/livez", "liveness": "/livez", "readiness": "/readyz",
    }  # fmt: skip
    assert {get["port"] for get in asked.values()} == set(ports)
    assert {port["targetPort"] for port in manifest("service")["spec"]["ports"]} == set(ports)
    (listen,) = (each["value"] for each in container["env"] if each["name"] == "STP_ETL__OPS__LISTEN")
    assert listen == f"0.0.0.0:{ports['ops']}"


def test_the_servicemonitor_finds_the_service():
    monitor = yaml.safe_load((DEPLOY / "k8s" / "servicemonitor" / "servicemonitor.yaml").read_text())["spec"]
    service = manifest("service")

    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", path.read_text()))


def test_the_image_gets_the_versions_that_were_tested():
    tested, shipped = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")

    assert len(shipped) > 20
    assert shipped.items() <= tested.items()
    assert not {"pytest", "mypy", "ruff"} & set(shipped)


def test_the_image_is_pinned_and_runs_without_rights():
    text = (DEPLOY / "Dockerfile").read_text()
    (base,) = re.findall(r"(?m)^ARG BASE=(\S+)$", text)
    last = text[text.rindex("\nFROM ") :]

    assert re.search(r":\d+\.\d+\.\d+-", base)
    assert re.search(r"(?m)^USER 10001:10001$", last)
    for sources in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", text):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


INSTRUCTIONS = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the image in their order, each in one line."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [(words[0], words[1]) for line in lines if len(words := line.strip().split(" ", 1)) == 2]


def test_the_image_is_made_of_known_instructions_and_of_stages_that_exist():
    found = instructions()
    stages = {name for kind, rest in found if kind == "FROM" for name in re.findall(r" AS (\w+)$", rest)}
    copied = {name for kind, rest in found if kind == "COPY" for name in re.findall(r"--from=(\w+)", rest)}

    assert {kind for kind, _ in found} == INSTRUCTIONS
    assert found[0][0] == "ARG"
    assert copied == stages == {"build"}
    for kind, rest in found:
        if kind == "RUN":  # what a shell cannot parse would fail only where the image is built
            assert subprocess.run(["sh", "-n", "-c", rest], capture_output=True).returncode == 0, rest
        if kind in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in yaml.safe_load(rest)), rest


def test_what_the_image_starts_is_a_command_of_the_program():
    words = [word for kind, rest in instructions() if kind in ("ENTRYPOINT", "CMD") for word in yaml.safe_load(rest)]

    assert words == ["stp-etl", "run"]
