"""`diffused pull` and models by owner/name, against a stand-in for the hub. Nothing here uses the network."""

import fcntl
import json
import os
import pathlib
import resource

import hub_standin
import pytest
from conftest import DEMO, run_program, serve
from hub_standin import COMMIT, TOKEN

REPO = "painters/kitten-1.5"
UNET = "unet/diffusion_pytorch_model.safetensors"
INDEX = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "unet": ["diffusers", "UNet2DConditionModel"],
         "tokenizer": ["transformers", "CLIPTokenizer"], "scheduler": ["diffusers", "DDIMScheduler"],
         "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "image_encoder": [None, None]}
NEEDED = {"model_index.json": json.dumps(INDEX).encode(), "unet/config.json": b"{}", UNET: bytes(range(256)) * 4000,
          "tokenizer/vocab.json": b'{"a": 0}', "tokenizer/merges.txt": b"#version: 0.2\n", "scheduler/scheduler_config.json": b"{}"}
REST = {"README.md": b"# Kittens", "images/my pic (1).png": b"PNG", "kitten.ckpt": b"pickle", "kitten.safetensors": b"whole",
        "unet/diffusion_pytorch_model.bin": b"pickle", "unet/diffusion_pytorch_model.non_ema.safetensors": b"other",
        "unet/diffusion_flax_model.msgpack": b"flax", "safety_checker/model.safetensors": b"safe", "safety_checker/config.json": b"{}"}


class Cache:
    """A cache folder and the environment that names it."""

    def __init__(self, folder, hub):
        self.folder = folder / "cache"
        self.repo = self.folder / ("models--" + REPO.replace("/", "--"))
        self.environment = {**os.environ, "HF_HUB_CACHE": str(self.folder), "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home")}
        for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"):
            self.environment.pop(name, None)

    def pull(self, what=REPO, *options, **run):
        return run_program("pull", what, *options, env=self.environment, **run)

    def held(self):
        snapshot = self.repo / "snapshots" / COMMIT
        return {str(file.relative_to(snapshot)): file.read_bytes() for file in snapshot.rglob("*") if file.is_file()}

    def refs(self):
        refs = self.repo / "refs"
        return {str(file.relative_to(refs)): file.read_text() for file in refs.rglob("*") if file.is_file()}

    def unfinished(self):
        return [file.name for file in (self.repo / "blobs").glob("*.incomplete")]


@pytest.fixture
def hub():
    with hub_standin.running(REPO, {**NEEDED, **REST}) as running:
        yield running


@pytest.fixture
def cache(tmp_path, hub):
    return Cache(tmp_path, hub)


def done(told):
    assert told.returncode == 0, told.stderr
    return pathlib.Path(told.stdout.strip())


def refused(told, *mentioned, status=2):
    assert told.returncode == status, (told.returncode, told.stderr)
    lines = [line for line in told.stderr.splitlines() if line.startswith("diffused: ")]
    assert len(lines) == 1 and TOKEN not in told.stderr, told.stderr
    for word in mentioned:
        assert word in lines[0], lines[0]


def test_what_a_pipeline_needs_comes_and_nothing_else(hub, cache):
    folder = done(cache.pull())
    assert folder == cache.repo / "snapshots" / COMMIT
    assert cache.held() == NEEDED and cache.refs() == {"main": COMMIT} and not cache.unfinished()
    assert (folder / UNET).is_symlink() and (folder / UNET).resolve() == (cache.repo / "blobs" / hub.digest(UNET)).resolve()
    hub.seen.clear()
    done(cache.pull())
    assert not hub.bytes_were_asked_for()


def test_the_hubs_own_tools_find_it(cache):
    from huggingface_hub import scan_cache_dir, snapshot_download

    folder = done(cache.pull())
    assert snapshot_download(REPO, cache_dir=cache.folder, local_files_only=True) == str(folder)
    found = scan_cache_dir(cache.folder)
    assert not found.warnings and [repo.repo_id for repo in found.repos] == [REPO]


def test_the_token_stays_with_the_hub(hub, cache, tmp_path):
    hub.token = TOKEN
    refused(cache.pull(), REPO, "HF_TOKEN", status=1)
    (tmp_path / "token").write_text(TOKEN + "\n")
    cache.environment["HF_TOKEN_PATH"] = str(tmp_path / "token")
    hub.seen.clear()
    done(cache.pull())
    assert hub.gets(UNET, "cdn") and cache.held() == NEEDED
    for seen in hub.seen:
        assert seen.headers.get("Authorization") == (f"Bearer {TOKEN}" if seen.where == "hub" else None)


def test_a_wrong_token_is_told_apart(hub, cache):
    hub.token = TOKEN
    cache.environment["HF_TOKEN"] = "hf_other"
    refused(cache.pull(), "token given", status=1)
    cache.environment["HF_TOKEN"] = "hf other\nX: y"
    refused(cache.pull(), "HF_TOKEN")


@pytest.mark.parametrize(("refuse", "mentioned"), [((401, "RepoNotFound"), "HF_TOKEN"), ((403, "GatedRepo"), "gated"), ((404, "RepoNotFound"), "no such"),
                                                   ((404, "RevisionNotFound"), "revision")])
def test_a_hub_that_says_no(hub, cache, refuse, mentioned):
    hub.refuse = refuse
    refused(cache.pull(), REPO, mentioned, status=2 if refuse[0] == 404 else 1)
    assert len(hub.seen) == 1  # no is no


def test_a_hub_that_is_away_for_a_moment(hub, cache):
    hub.listing_faults = [503, 500]
    hub.faults = {UNET: [("status", 502), ("status", 429)], "unet/config.json": [("status", 500)]}
    done(cache.pull())
    assert cache.held() == NEEDED


def test_a_hub_that_stays_away(hub, cache):
    hub.faults = {UNET: [("status", 503)] * 50}
    refused(cache.pull(), REPO, "503", status=1)
    assert not cache.refs() and not cache.held() and len(hub.gets(UNET, "cdn")) == 5


def test_a_transfer_cut_short_goes_on_where_it_ended(hub, cache):
    hub.faults = {UNET: [("cut", 1000), ("cut", 300_000)]}
    done(cache.pull())
    assert cache.held() == NEEDED
    assert [seen.headers.get("Range") for seen in hub.gets(UNET, "cdn")] == [None, "bytes=1000-", "bytes=300000-"]


def test_a_transfer_that_stalls_is_taken_up_again(hub, cache):
    cache.environment["HF_HUB_DOWNLOAD_TIMEOUT"] = "1"
    hub.faults = {UNET: [("stall", 1000)]}
    done(cache.pull())
    assert cache.held() == NEEDED


def test_an_earlier_call_s_part_is_used(hub, cache):
    (cache.repo / "blobs").mkdir(parents=True)
    (cache.repo / "blobs" / f"{hub.digest(UNET)}.incomplete").write_bytes(NEEDED[UNET][:5000])
    done(cache.pull())
    assert hub.gets(UNET, "cdn")[0].headers["Range"] == "bytes=5000-" and cache.held() == NEEDED and not cache.unfinished()


@pytest.mark.parametrize("left", [b"x" * 5000, b"x" * len(NEEDED[UNET]), b"x" * (len(NEEDED[UNET]) + 1)], ids=["part", "whole", "longer"])
def test_a_damaged_part_is_thrown_away(hub, cache, left):
    (cache.repo / "blobs").mkdir(parents=True)
    (cache.repo / "blobs" / f"{hub.digest(UNET)}.incomplete").write_bytes(left)
    done(cache.pull())
    assert cache.held() == NEEDED and not cache.unfinished()


def test_a_server_that_ignores_ranges(hub, cache):
    hub.faults = {UNET: [("cut", 1000), ("whole",)]}
    done(cache.pull())
    assert cache.held() == NEEDED


@pytest.mark.parametrize(("name", "mentioned"), [(UNET, "SHA-256"), ("unet/config.json", "SHA-1")])
def test_other_bytes_are_never_kept(hub, cache, name, mentioned):
    hub.faults = {name: [("swap", bytes(len(NEEDED[name])))]}
    refused(cache.pull(), name, mentioned)
    assert not cache.refs() and not cache.held() and not cache.unfinished()
    assert not (cache.repo / "blobs" / hub.digest(name)).exists()
    done(cache.pull())
    assert cache.held() == NEEDED


def test_more_bytes_than_listed(hub, cache):
    hub.faults = {UNET: [("more", b"x")]}
    refused(cache.pull(), UNET, "more")
    assert not cache.unfinished()


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "/etc/passwd", "unet/../../x", "a\\b", "unet//x", "unet/./x", "a\nb"])
def test_hostile_names_in_the_list(hub, cache, name):
    hub.extra_listed = [name]
    refused(cache.pull(), name.replace("\n", "\\x0a"), "the hub lists")
    assert not hub.bytes_were_asked_for()


@pytest.mark.parametrize("name", ["unet/my config.json", "unet/configé.json", "unet/x?y=.json"])
def test_odd_names_where_they_would_be_needed(hub, cache, name):
    hub.extra_listed = [name]
    refused(cache.pull(), name, "letters")


@pytest.mark.parametrize("index", [b"[]", b"{", json.dumps({**INDEX, "../x": ["diffusers", "X"]}).encode()])
def test_a_model_index_that_is_none(hub, cache, index):
    hub.files["model_index.json"] = index
    refused(cache.pull(), REPO)
    assert not cache.refs()


def test_a_repository_of_another_kind(hub, cache):
    del hub.files["model_index.json"]
    refused(cache.pull(), REPO, "model_index.json")


def test_a_component_that_is_not_listed(hub, cache):
    del hub.files["unet/config.json"], hub.files[UNET]
    hub.files = {name: data for name, data in hub.files.items() if not name.startswith("unet/")}
    refused(cache.pull(), "unet")


def test_only_pickled_weights(hub, cache):
    hub.files = {name: data for name, data in hub.files.items() if not (name.startswith("unet/") and name.endswith(".safetensors"))}
    refused(cache.pull(), "unet", "pickle")


def test_a_list_without_sizes_and_hashes(hub, cache):
    hub.bare_listing = True
    done(cache.pull())
    assert cache.held() == NEEDED


@pytest.mark.parametrize(("shard", "index"), [("diffusion_pytorch_model.fp16-0000{}-of-00002.safetensors", "diffusion_pytorch_model.safetensors.index.fp16.json"),
                                              ("diffusion_pytorch_model-0000{}-of-00002.fp16.safetensors", "diffusion_pytorch_model.safetensors.fp16.index.json")])
def test_a_variant_in_shards(hub, cache, shard, index):
    parts = {f"unet/{shard.format(1)}": b"one", f"unet/{shard.format(2)}": b"two", f"unet/{index}": b"{}"}
    hub.files |= parts
    done(cache.pull(REPO, "--variant", "fp16"))
    assert cache.held() == {name: data for name, data in NEEDED.items() if name != UNET} | parts
    del hub.files[f"unet/{shard.format(2)}"]
    refused(cache.pull(REPO, "--variant", "fp16"), "unet", "1 of 2 shards")


def test_revisions(hub, cache):
    hub.revisions["refs/pr/7"] = COMMIT
    done(cache.pull(REPO + "@refs/pr/7"))
    assert cache.refs() == {"refs/pr/7": COMMIT}
    done(cache.pull(f"{REPO}@{COMMIT}"))
    assert cache.refs() == {"refs/pr/7": COMMIT}
    refused(cache.pull(REPO + "@nowhere"), "nowhere")


@pytest.mark.parametrize("what", ["kitten", "a/b/c", "../b", "a/..", "a/b@../c", "a/b@", "a b/c", "a/b--c", "/b", "a/" + "b" * 200])
def test_names_that_are_no_repository(hub, cache, what):
    refused(cache.pull(what))
    assert not hub.seen


def test_a_disk_that_takes_no_more(hub, cache):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    refused(cache.pull(preexec_fn=small_files), "too large")
    assert not cache.refs()
    done(cache.pull())
    assert hub.gets(UNET, "cdn")[-1].headers["Range"] == "bytes=100000-" and cache.held() == NEEDED


def test_a_cache_that_is_no_folder(cache):
    cache.folder.write_text("in the way")
    refused(cache.pull(), str(cache.folder))


def test_one_pull_at_a_time(cache):
    done(cache.pull())
    with (cache.folder / ".locks" / cache.repo.name / "diffused.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(cache.pull(), "another process", status=1)


def test_offline(hub, cache):
    cache.environment["HF_HUB_OFFLINE"] = "1"
    refused(cache.pull(), "HF_HUB_OFFLINE", status=1)
    assert not hub.seen


@pytest.fixture(scope="module")
def demo_cache(tmp_path_factory):
    """A cache that holds the demo model."""
    files = {str(file.relative_to(DEMO)): file.read_bytes() for file in DEMO.rglob("*") if file.is_file()}
    with hub_standin.running(REPO, files) as hub:
        cache = Cache(tmp_path_factory.mktemp("demo"), hub)
        done(cache.pull())
        return cache


def test_a_model_by_its_name_makes_the_same_picture(demo_cache, tmp_path):
    pictures = []
    for model in (REPO, f"{REPO}@{COMMIT}", str(DEMO)):
        pictures.append(tmp_path / f"{len(pictures)}.png")
        made = run_program("generate", f"x={model}", "a kitten", "-o", pictures[-1], "--steps", "2", "--size", "64x64", "--seed", "1",
                           "--quiet", "--dtype", "fp32", env=demo_cache.environment)
        assert made.returncode == 0, made.stderr
    assert len({picture.read_bytes() for picture in pictures}) == 1
    shown = run_program("inspect", REPO, env=demo_cache.environment)
    assert shown.returncode == 0 and "StableDiffusion3Pipeline" in shown.stdout


def test_a_model_that_is_not_in_the_cache(demo_cache):
    told = run_program("generate", "painters/dog", "a dog", env=demo_cache.environment)
    refused(told, "diffused pull painters/dog")
    told = run_program("inspect", REPO + "@v2", env=demo_cache.environment)
    refused(told, f"diffused pull {REPO}@v2")


def test_a_folder_of_that_name_goes_first(demo_cache, tmp_path):
    (tmp_path / REPO).mkdir(parents=True)
    told = run_program("inspect", REPO, env=demo_cache.environment, cwd=tmp_path)
    refused(told, "model_index.json")


def test_the_guides_environment(demo_cache, tmp_path):
    environment = {**demo_cache.environment, "MODEL_PATH": REPO, "SERVICE_URL": "https://pictures.example"}
    with serve(tmp_path, "--dtype", "fp32", model=None, environment=environment) as server:
        ids = [model["id"] for model in server.get("/v1/models").json()["data"]]
        assert ids == [REPO.split("/")[1], REPO]
        made = server.post({"model": REPO, "prompt": "a kitten", "num_inference_steps": 1, "size": "64x64"}).json()
        assert made["data"][0]["url"].startswith("https://pictures.example/images/")
