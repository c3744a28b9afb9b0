"""Options from a file and from the environment, and what is said of those that are wrong."""

import re
import signal
import subprocess

import pytest
from conftest import DEMO, PROGRAM, ROOT, run_program, serve, wait_until


def check(file, text, *options, env=None):
    file.write_text(text)
    return run_program("serve", "--config", file, "--check-config", *options, env=env)


def n_max(server) -> int:
    schema = server.get("/openapi.json").json()["paths"]["/v1/images/generations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return schema["properties"]["n"]["maximum"]


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(tmp_path):
    file = tmp_path / "diffused.toml"
    file.write_text(f'model = ["small={DEMO}"]\nn-max = 3\nalias = ["one", "two"]\nstrict = true\nmemory-max = "1GiB"\n')
    for options, environment, most in [([], {}, 3), ([], {"DIFFUSED_N_MAX": "5"}, 5), (["--n-max", "7"], {"DIFFUSED_N_MAX": "5"}, 7)]:
        with serve(tmp_path / "data", "--config", str(file), *options, model=None, environment=environment) as server:
            assert n_max(server) == most
            assert {model["id"] for model in server.get("/v1/models").json()["data"]} >= {"small", "one", "two"}
            assert server.post({"prompt": "x", "nonsense": 1}).status_code == 400


def test_lists_in_the_environment_have_commas(tmp_path):
    with serve(tmp_path, environment={"DIFFUSED_ALIAS": "one,two"}) as server:
        assert {model["id"] for model in server.get("/v1/models").json()["data"]} >= {"one", "two"}


@pytest.mark.parametrize(("text", "line", "says"), [
    ("port = 0\nn-mx = 4\n", 2, "no option n-mx; the nearest is n-max"),
    ("n-max = 'many'\n", 1, "many not in range"),
    ("\n\nn-max = 0\n", 3, "--n-max"),
    ("strict = 'perhaps'\n", 1, "strict is true or false"),
    ("n-max = [1, 2]\n", 1, "n-max takes one value"),
    ("alias = [['a']]\n", 1, "alias must be"),
    ("n-max = 1979-05-27\n", 1, "n-max must be"),
    ("[server]\nport = 1\n", 1, "no option server"),
    ("config = 'other.toml'\n", 1, "no option config"),
    ("n-max = 1\nn-max = 2\n", 2, "n-max"),
    ("n-max = \n", 1, "expected value"),
])
def test_a_fault_is_told_in_a_sentence_with_its_line(tmp_path, text, line, says):
    refused = check(tmp_path / "x.toml", text, DEMO)
    assert refused.returncode == 2 and refused.stdout == ""
    assert refused.stderr.startswith(f"diffused: {tmp_path}/x.toml:{line}: ") and says in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_file_that_is_not_there_and_a_variable_that_is_wrong_are_named(tmp_path):
    missing = run_program("serve", DEMO, "--config", tmp_path / "none.toml", "--check-config")
    assert missing.returncode == 2 and "none.toml" in missing.stderr
    wrong = check(tmp_path / "x.toml", "", DEMO, env={"DIFFUSED_N_MAX": "0"})
    assert wrong.returncode == 2 and "DIFFUSED_N_MAX: --n-max" in wrong.stderr


def test_what_the_options_need_is_checked_too(tmp_path):
    """Not only each by itself: the files they name, and what goes together."""
    assert check(tmp_path / "x.toml", "n-max = 2\n", DEMO).returncode == 0
    assert "--api-keys" in check(tmp_path / "x.toml", "api-keys = '/nonexistent'\n", DEMO).stderr
    assert "--allow-anonymous" in check(tmp_path / "x.toml", "host = '0.0.0.0'\n", DEMO).stderr
    (tmp_path / "own.key").write_text("no key\n")
    own = check(tmp_path / "x.toml", f"tls-cert = '{tmp_path}/none.crt'\ntls-key = '{tmp_path}/own.key'\n", DEMO)
    assert own.returncode == 2 and f"{tmp_path}/none.crt" in own.stderr
    assert check(tmp_path / "x.toml", "role = 'gateway'\nstore = 'postgresql://nobody@localhost/none'\n").returncode == 0
    assert "no option rows-max" in check(tmp_path / "x.toml", "role = 'gateway'\nstore = 'x'\nrows-max = 2\n").stderr


@pytest.mark.parametrize(("name", "command"), [("diffused.toml", ["diffused", "serve"]), ("gateway.toml", ["diffused-gateway"])])
def test_the_committed_example_has_every_option(name, command):
    def said(option):
        program = [PROGRAM.parent / command[0], *command[1:], option]
        return subprocess.run(program, capture_output=True, text=True, check=True, env={"XDG_STATE_HOME": "/var/lib"}).stdout

    printed = said("--print-config")
    assert (ROOT / "packaging" / name).read_text() == printed, \
        f"`XDG_STATE_HOME=/var/lib {' '.join(command)} --print-config >packaging/{name}` brings it up to date"
    options = set(re.findall(r"^  --([a-z0-9-]+)", said("--help"), re.MULTILINE))
    keys = set(re.findall(r"^#([a-z0-9-]+) = ", printed, re.MULTILINE))
    assert options - {"version", "config", "check-config", "print-config"} == keys - {"model"}
    assert len(keys) > 30


def test_every_default_of_the_example_can_be_used(tmp_path):
    """Without the # before them, but for numbers that have no default."""
    printed = run_program("serve", "--print-config", env={"HOME": str(tmp_path)}).stdout
    assert check(tmp_path / "x.toml", re.sub(r"^#(\S+ = (?!\.\.\.))", r"\1", printed, flags=re.MULTILINE), DEMO).returncode == 0


def test_limits_are_read_again_at_a_signal_and_kept_when_they_are_wrong(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text("n-max = 2\n")
    with serve(tmp_path / "data", "--config", str(file), "--side-max", "512") as server:
        def hang_up(text, event):
            file.write_text(text)
            before = sum(f'"{event}"' in line for line in server.log)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: sum(f'"{event}"' in line for line in server.log) > before)

        def status(**fields):
            return server.post({"prompt": "x", "size": "64x64", "num_inference_steps": 1, "n": 1, **fields}).status_code

        assert (n_max(server), status(n=3), status(n=2)) == (2, 400, 200)
        hang_up("n-max = 3\nside-max = 9999\nstrict = true\n", "limits_reloaded")
        assert (n_max(server), status(n=3), status(n=4)) == (3, 200, 400)
        assert (status(nonsense=1), status(size="1024x1024")) == (400, 400)
        hang_up("n-max = 0\n", "limits_kept")
        assert n_max(server) == 3
        assert any("x.toml:1: --n-max" in line for line in server.log)
