"""docker-compose.yml: what the format asks for, and what we promise about it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.settings import variables
from nextlabel.backend.stack.label_studio import (
    FAST_PREDICTION_IMPORT,
    LABEL_STUDIO_VERSION,
    LEGACY_TOKENS,
    LOCAL_ADDRESSES,
)

from .stack_file import COMPOSE, ROOT, example_values, fill_in, interpolate, load, raw, used_variables

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES = sorted(raw()["services"])
PLATFORMS = ("label-studio", "argilla")


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A filled in .env."""
    return fill_in(tmp_path_factory.mktemp("env"))


@pytest.fixture(scope="module")
def services(values: dict[str, str]) -> dict[str, dict[str, Any]]:
    return load(values)


def of_profile(services: dict[str, dict[str, Any]], *profiles: str) -> set[str]:
    return {name for name, service in services.items() if set(service["profiles"]) & set(profiles)}


def complaints(file: Path) -> str:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def test_it_is_a_compose_file(tmp_path: Path) -> None:
    assert complaints(COMPOSE).startswith("ok")
    (tmp_path / "wrong.yml").write_text(COMPOSE.read_text().replace("condition: service_healthy", "state: healthy"))
    assert "state" in complaints(tmp_path / "wrong.yml")


def test_the_command_in_the_example_fills_in_every_secret(values: dict[str, str], tmp_path: Path) -> None:
    empty = {name for name, value in example_values().items() if not value}
    secrets = [values[name] for name in sorted(empty)]
    assert all(len(secret) == 40 and secret.isalnum() for secret in secrets)
    assert len(set(secrets)) == len(secrets) > 5
    again = fill_in(tmp_path)
    assert not set(secrets) & set(again.values())
    assert {name: value for name, value in values.items() if name not in empty} == {
        name: value for name, value in example_values().items() if value
    }


def test_the_example_and_the_file_name_the_same_variables() -> None:
    text = (ROOT / ".env.example").read_text()
    named = {line.lstrip("# ").partition("=")[0] for line in text.splitlines() if line.lstrip("# ")[:1].isupper()}
    named = {name for name in named if name.replace("_", "").isupper()}
    assert named == set(used_variables())


@pytest.mark.parametrize("name", sorted(used_variables()))
def test_a_variable_is_used_in_one_way(name: str) -> None:
    (way,) = {way.partition("?")[0] + "?" if way.startswith(":?") else way for way in used_variables()[name]}
    given = example_values().get(name, "")
    if way == ":?":
        assert name in example_values()
    else:
        assert way.startswith(":-")
        assert way.removeprefix(":-") == given, "the default and the example differ"


def test_a_secret_has_no_default_and_cannot_be_forgotten() -> None:
    for name, ways in used_variables().items():
        if name.endswith(("PASSWORD", "TOKEN", "KEY")):
            assert ways == {":?"}, name
            assert example_values()[name] == "", f"{name}: the example must not bring a usable one"


def test_no_secret_stands_in_the_file() -> None:
    words = ("PASSWORD", "TOKEN", "SECRET", "API_KEY", "AUTH")
    for name, service in raw()["services"].items():
        for key, value in service.get("environment", {}).items():
            if any(word in key for word in words) and key not in LEGACY_TOKENS:
                assert str(value).startswith("${"), f"{name}: {key}"


def test_a_missing_secret_is_named() -> None:
    with pytest.raises(KeyError, match=r"see .env.example"):
        interpolate(raw()["services"], example_values())


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_guarded(services: dict[str, dict[str, Any]], name: str) -> None:
    service = services[name]
    repository, _, version = service["image"].rpartition(":")
    assert repository
    assert version.lstrip("v")[0].isdigit(), "pin the image to a version"
    assert version.count(".") == (1 if repository == "postgres" else 2), "to the last number"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["profiles"]
    assert service["mem_limit"] == service["memswap_limit"], "no swap on top of its memory"
    assert int(service["pids_limit"]) > 0
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    if "build" not in service:  # the Dockerfile names the user of ours
        assert not str(service["user"]).startswith(("0", "root"))


def test_volumes_are_named_and_used(services: dict[str, dict[str, Any]]) -> None:
    used = set()
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert volume.endswith(":ro"), "a folder of the host is only read"
            else:
                used.add(source)
    assert used == set(raw()["volumes"])


def test_the_profiles_hold_what_they_promise(services: dict[str, dict[str, Any]]) -> None:
    assert of_profile(services, "label-studio") == {"nextlabel", "label-studio", "label-studio-db"}
    assert of_profile(services, "argilla") == {
        "nextlabel",
        "argilla",
        "argilla-worker",
        "argilla-db",
        "argilla-redis",
        "argilla-search",
    }
    assert of_profile(services, "gpu") == {"nextlabel-gpu"}
    assert of_profile(services, "postgresql") == {"nextlabel-db"}
    assert set(services) == of_profile(services, "label-studio", "argilla", "gpu", "postgresql")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("backend", ["nextlabel", "nextlabel-gpu"])
def test_a_service_waits_for_the_health_of_what_it_needs(
    services: dict[str, dict[str, Any]], backend: str, platform: str
) -> None:
    started = of_profile(services, platform) | {backend}
    for name in started:
        for other, need in services[name].get("depends_on", {}).items():
            assert need["condition"] == "service_healthy"
            assert other in started or need["required"] is False, f"{name} needs {other}, which is not started"
    assert platform in services[backend]["depends_on"]


def test_services_that_talk_share_a_network(services: dict[str, dict[str, Any]]) -> None:
    networks = {name: set(service["networks"]) for name, service in services.items()}
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            assert networks[name] & networks[other], f"{name} can't reach {other}"
    assert networks["argilla-worker"] & networks["nextlabel"], "webhooks are delivered by the worker"
    inner = {name for name, network in raw()["networks"].items() if network and network.get("internal")}
    for name in ("nextlabel-db", "label-studio-db", "argilla-db", "argilla-search", "argilla-redis"):
        assert networks[name] <= inner, f"{name} has to be out of reach"
        assert "ports" not in services[name]


def test_every_address_is_a_name_in_the_network(services: dict[str, dict[str, Any]]) -> None:
    """Each url in an environment leads to a service, on a port where it listens."""
    names = set(services)
    for service in services.values():
        if isinstance(service["networks"], dict):
            names |= {alias for network in service["networks"].values() for alias in (network or {}).get("aliases", [])}
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if "://" in str(value):
                host = value.partition("://")[2].rpartition("@")[2].partition("/")[0].partition(":")[0]
                assert host in names, f"{name}: {key} leads to {host}"


def test_people_and_the_service_use_the_same_address(values: dict[str, str]) -> None:
    """*.localhost is this machine to browsers, and the platform in the network: so the ports have to be the same."""
    services = load(
        {**values, "LABEL_STUDIO_PORT": "8081", "ARGILLA_PORT": "6901", "LABEL_STUDIO_ADDRESS": "https://ls.org"}
    )
    assert services["nextlabel"]["environment"]["LABEL_STUDIO_URL"] == "https://ls.org"
    for name in ("LABEL_STUDIO_HOST", "CSRF_TRUSTED_ORIGINS"):
        assert services["label-studio"]["environment"][name] == "https://ls.org"
    assert services["label-studio"]["ports"] == ["127.0.0.1:8081:8081"]
    assert "8081" in services["label-studio"]["command"]
    assert services["argilla"]["ports"] == ["127.0.0.1:6901:6901"]
    assert services["argilla"]["environment"]["UVICORN_PORT"] == "6901"
    for platform in PLATFORMS:
        assert f"{platform}.localhost" in services[platform]["networks"]["platform"]["aliases"]


def test_the_gpu_is_reserved_for_the_cuda_build(services: dict[str, dict[str, Any]]) -> None:
    gpu, cpu = services["nextlabel-gpu"], services["nextlabel"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "1", "capabilities": ["gpu"]}
    assert "deploy" not in cpu
    assert gpu["image"] == cpu["image"] + "-cuda"
    assert "cpu" not in gpu["build"]["args"]["TORCH_INDEX"]
    differing = {"profiles", "image", "build", "deploy", "environment"}
    assert {key: gpu[key] for key in gpu if key not in differing} == {
        key: cpu[key] for key in cpu if key not in differing
    }
    assert cpu["environment"].items() <= gpu["environment"].items()


def test_the_image_carries_our_version(services: dict[str, dict[str, Any]]) -> None:
    assert services["nextlabel"]["image"] == f"nextlabel:{PROJECT['project']['version']}"


def test_label_studio_gets_the_switches_of_our_own_servers(services: dict[str, dict[str, Any]]) -> None:
    environment = services["label-studio"]["environment"]
    assert (FAST_PREDICTION_IMPORT | LOCAL_ADDRESSES | LEGACY_TOKENS).items() <= environment.items()
    assert services["label-studio"]["image"].endswith(f":{LABEL_STUDIO_VERSION}")


def test_our_variables_are_settings(services: dict[str, dict[str, Any]]) -> None:
    ours = {name for name in services["nextlabel"]["environment"] if name.startswith(("NEXTLABEL_", "LABEL_STUDIO_"))}
    assert ours <= set(variables())


@pytest.mark.parametrize("platform", PLATFORMS)
def test_there_is_an_example_for_each_platform(platform: str, tmp_path: Path) -> None:
    recipe = Recipe.from_yaml(ROOT / "deploy" / "recipes" / f"tickets-{platform}.yaml")
    assert recipe.platform == platform
    assert len(list(recipe.read())) == 60
