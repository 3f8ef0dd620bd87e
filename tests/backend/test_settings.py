"""Settings: from the environment, documented once, with complaints that name the variable."""

import re
from pathlib import Path

import pytest

from nextlabel.backend.credentials import FILE, credentials
from nextlabel.backend.settings import Settings, markdown, unknown_variables, variables
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.platforms import PLATFORMS

ROOT = Path(__file__).parents[2]


def test_the_page_is_not_stale() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: python -m nextlabel.backend.settings > docs/settings.md"


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert len(field.description) > 15, name


def test_every_variable_that_the_package_mentions_exists() -> None:
    known = set(variables())
    for path in [*(ROOT / "backend").rglob("*.py"), *(ROOT / "connectors").rglob("*.py")]:
        for name in re.findall(r"NEXTLABEL_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8")):
            assert name in known, f"{path} mentions {name}"


def test_nothing_is_open_by_default() -> None:
    settings = Settings.load()
    assert settings.host == "127.0.0.1"
    assert settings.port == 9090
    assert settings.home == Path(".nextlabel")


def test_the_environment_is_read_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTLABEL_PORT", "1234")
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:8080/")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "geheim")
    settings = Settings.load(host=None)
    assert settings.port == 1234
    assert settings.label_studio_url == "http://127.0.0.1:8080"
    assert settings.label_studio_api_key
    assert settings.label_studio_api_key.get_secret_value() == "geheim"
    assert Settings.load(port=5).port == 5


def test_our_own_prefix_wins_over_the_common_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://one")
    monkeypatch.setenv("NEXTLABEL_LABEL_STUDIO_URL", "http://two")
    assert Settings.load().label_studio_url == "http://two"


def test_headers_are_json_and_stay_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTLABEL_ARGILLA_HEADERS", '{"Authorization": "Bearer hf_geheim"}')
    settings = Settings.load()
    assert PLATFORMS["argilla"].headers(settings) == {"Authorization": "Bearer hf_geheim"}
    assert PLATFORMS["argilla"].secrets(settings) == ["Bearer hf_geheim"]
    assert "geheim" not in repr(settings)
    for wrong in ("Bearer x", "[1]", '{"a": 1}'):
        monkeypatch.setenv("NEXTLABEL_ARGILLA_HEADERS", wrong)
        with pytest.raises(ConfigError, match="NEXTLABEL_ARGILLA_HEADERS should be a JSON object of texts") as caught:
            Settings.load()
        assert "Bearer x" not in str(caught.value)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTLABEL_PORT", "")
    assert Settings.load().port == 9090


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NEXTLABEL_PORT", "http", "NEXTLABEL_PORT"),
        ("NEXTLABEL_PORT", "70000", "NEXTLABEL_PORT"),
        ("NEXTLABEL_AUDIT_SHARE", "1.5", "NEXTLABEL_AUDIT_SHARE"),
        ("NEXTLABEL_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("LABEL_STUDIO_URL", "127.0.0.1:8080", "http://"),
        ("NEXTLABEL_MAX_REQUEST_BYTES", "1", "NEXTLABEL_MAX_REQUEST_BYTES"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        Settings.load()
    assert says in str(raised.value)
    assert "docs/settings.md" in str(raised.value)


def test_a_secret_never_shows_in_a_complaint_or_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(
        ml_password="geheim-1",
        api_token="geheim-2",
        webhook_secret="geheim-3",
        label_studio_api_key="geheim-4",
        store="postgresql://user:geheim-5@host/db",
    )
    assert "geheim" not in repr(settings)
    assert "geheim" not in str(settings)
    monkeypatch.setenv("LABEL_STUDIO_URL", "geheim-6")
    with pytest.raises(ConfigError) as raised:
        Settings.load(ml_password="geheim-7")
    assert "geheim" not in str(raised.value)


def test_a_misspelled_variable_is_noticed() -> None:
    (sentence,) = unknown_variables({"NEXTLABEL_HSOT": "x", "NEXTLABEL_PORT": "1", "HOME": "/"})
    assert sentence == "NEXTLABEL_HSOT is not a setting; did you mean NEXTLABEL_HOST?"


@pytest.mark.parametrize(
    ("host", "public", "address"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:9090"),
        ("0.0.0.0", "", "http://127.0.0.1:9090"),
        ("::1", "", "http://[::1]:9090"),
        ("0.0.0.0", "https://labels.example/", "https://labels.example"),
    ],
)
def test_the_address_that_the_platform_is_told(host: str, public: str, address: str) -> None:
    assert Settings(host=host, public_url=public).address() == address


def test_the_port_really_bound_counts() -> None:
    assert Settings(port=0).address(4321) == "http://127.0.0.1:4321"


# -- credentials ------------------------------------------------------------------------------


def test_secrets_are_made_once_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = credentials(Settings(home=home))
    assert first == credentials(Settings(home=home))
    assert (home / FILE).stat().st_mode & 0o777 == 0o600
    assert len({first.password, first.api_token, first.webhook_secret}) == 3
    assert min(map(len, (first.password, first.api_token, first.webhook_secret))) >= 32


def test_given_secrets_win_and_need_no_file(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path / "none", ml_password="aa", api_token="bb", webhook_secret="cc", ml_user="u")
    found = credentials(settings)
    assert (found.user, found.password, found.api_token, found.webhook_secret) == ("u", "aa", "bb", "cc")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["ml_password", "api_token", "webhook_secret"])
def test_a_secret_of_one_character_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="guessed"):
        Settings.load(**{name: "x"})


def test_a_password_in_our_own_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="no user, password or query") as caught:
        Settings.load(public_url="https://proxy:S3cretWord@label.example")
    assert "S3cret" not in str(caught.value)


def test_a_file_that_others_can_read_is_closed(tmp_path: Path) -> None:
    credentials(Settings(home=tmp_path))
    (tmp_path / FILE).chmod(0o644)
    credentials(Settings(home=tmp_path))
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"ml_password": "", "api_token": "x", "webhook_secret": "y"}'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ConfigError, match=r"secrets\.json"):
        credentials(Settings(home=tmp_path))


def test_a_home_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="NEXTLABEL_HOME"):
        credentials(Settings(home=tmp_path / "file"))


def test_commands_that_only_look_make_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no service was ever started"):
        credentials(Settings(home=tmp_path), create=False)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_start_together_agree(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: credentials(Settings(home=tmp_path)), range(64)))
    assert len(set(found)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", FILE]


def test_argilla_may_be_named_as_its_own_tools_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("ARGILLA_API_URL", "http://127.0.0.1:6900/"),
        ("ARGILLA_API_KEY", "argilla.apikey"),
        ("ARGILLA_REDIS_URL", "redis://:hidden@127.0.0.1:6379/0"),
        ("NEXTLABEL_ARGILLA_WORKSPACE", "team"),
    ):
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert (settings.argilla_url, settings.argilla_workspace) == ("http://127.0.0.1:6900", "team")
    assert "hidden" not in repr(settings)
    assert "argilla.apikey" not in repr(settings)
    monkeypatch.setenv("NEXTLABEL_ARGILLA_URL", "http://ours")
    assert Settings.load().argilla_url == "http://ours"
