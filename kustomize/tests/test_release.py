"""What a release makes of the overlays, and the commands that tell a stranger how to verify one."""

import re
import subprocess

import pytest
import rendering

RELEASE = rendering.TREE.parent / "nix" / "release"
PROGRAMS = {name: f"ghcr.io/lifeline-rs/lifeline/{name}@sha256:{digit * 64}" for name, digit in
            [("producer", "a"), ("consumer", "b"), ("lifeline", "c")]}


def pin(tree, images):
    return subprocess.run(
        [RELEASE / "pin-overlays", tree, *(f"{name}={image}" for name, image in images.items())], capture_output=True, text=True
    )


@pytest.mark.parametrize("name", rendering.OVERLAYS)
def test_a_released_overlay_names_what_was_pushed(name, tmp_path):
    tree = rendering.copy_of_tree(tmp_path)
    assert pin(tree, PROGRAMS).returncode == 0
    for kubectl in rendering.ends():
        objects = rendering.build(tree / "overlays" / name, kubectl)
        images = {container["image"] for _, container in objects.containers()} - {"localstack/localstack:4.14.0"}
        assert images <= set(PROGRAMS.values()) and len(images) >= 2
    # Nothing but the images is another.
    pinned, plain = rendering.build(tree / "overlays" / name), rendering.overlay(name)
    for objects in (pinned, plain):
        for _, container in objects.containers():
            container["image"] = ""
    assert pinned == plain


def test_an_image_without_a_digest_is_not_released(tmp_path):
    tree = rendering.copy_of_tree(tmp_path)
    result = pin(tree, PROGRAMS | {"consumer": "ghcr.io/lifeline-rs/lifeline/consumer:0.1.0"})
    assert result.returncode == 2 and "expected NAME=IMAGE@sha256:" in result.stderr


def test_the_commands_to_verify_a_release_are_those_that_the_workflow_runs():
    commands = subprocess.run(
        [RELEASE / "readme-commands", rendering.TREE / "README.md", "Verify a release"], capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(["bash", "-n", "-c", commands], check=True)
    workflow = (rendering.TREE.parent / ".github/workflows/release.yml").read_text()
    assert 'readme-commands kustomize/README.md "Verify a release"' in workflow
    version = re.search(r'^version = "(.+)"', (rendering.TREE.parent / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert set(re.findall(r"\bv?(\d+\.\d+\.\d+)\b", commands)) == {version}
