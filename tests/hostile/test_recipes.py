"""Recipes that were made to harm, or that are something else: refused at once, in a sentence."""

import os
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest

from decoct.core.errors import DecoctError
from decoct.run.recipe import load_recipe

ALIASES = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
TOO_DEEP, TOO_LONG = "it is nested too deeply", "it is too long for a recipe"
TEXTS = {  # what it is: the text, and what is said of it
    "aliases that multiply": (ALIASES, "more than 5,000 values"),
    "merge keys that multiply": (MERGES, "more than 5,000 values"),
    "an alias of itself": ("a: &a [*a]", "an alias within what it names"),
    "a merge of itself": ("&a {<<: *a}", "an alias within what it names"),
    "lists, 99,999 deep": ("[" * 99_999, TOO_DEEP),
    "mappings, 20,000 deep": ("{a: " * 20_000, TOO_DEEP),
    "a list's lists in a line": ("- " * 40_000, TOO_DEEP),
    "keys that are keys": ("? " * 40_000, TOO_DEEP),
    "anchors, 9,000 deep": ("".join(f"&a{i} [\n" for i in range(9000)), TOO_DEEP),
    "49,000 numbers": ("[" + "1," * 49_000 + "1]", TOO_LONG),
    "9,000 settings": ("".join(f"a{i}: 1\n" for i in range(9000)), TOO_LONG),
    "49,000 empty entries": ("-\n" * 49_000, TOO_LONG),
    "99,999 empty lines": ("\n" * 99_999, "must be a mapping of settings"),
    "a comment of 99,999 characters": ("#" * 99_999, "must be a mapping of settings"),
    "99,999 colons": (":" * 99_999, "mapping values are not allowed here"),
    "a tag of 99,999 characters": ("!" * 99_999, "a recipe holds plain values, no tag"),
    "code": ("name: !!python/object/apply:os.system [ls]", "plain values, no tag:yaml.org,2002:py"),
    "a class": ("name: !!python/name:os.system", "plain values"),
    "bytes": ("name: !!binary aGk=", "plain values"),
    "a set": ("a: !!set {b}", "plain values"),
    "a date by its tag": ("a: !!timestamp abc", "plain values"),
    "a tag of one's own": ("a: !mine 3", "plain values, no !mine"),
    "the value key": ("name: =", "plain values"),
    "a word as a whole number": ("seed: !!int abc", "'abc' is no int"),
    "a word as a number": ("seed: !!float abc", "'abc' is no float"),
    "a word as a truth": ("seed: !!bool abc", "'abc' is no bool"),
    "a list as a whole number": ("seed: !!int [1]", "expected a scalar node"),
    "a number without digits": ("seed: 0x_", "'0x_' is no int"),
    "5,000 digits": ("seed: " + "9" * 5000, "is no int"),
    "400 digits": ("seed: " + "9" * 400, "seed is about 1e400; it must be at least 0 and at most"),
    "a number in words": ("rule: {lr: 1e-3}", "in YAML write 1.0e-3"),
    "a base of 60": ("seed: 1:99", "seed is '1:99'; it must be a whole number"),
    "a list as a key": ("[1]: 2", "the name of a setting is a word"),
    "a mapping as a key": ("{a: 1}: 2", "the name of a setting is a word"),
    "nothing as a key": ("~: 3", "there is no setting None"),
    "a number as a key": ("matching: {3: 4}", "there is no setting matching.3"),
    "an empty key": ("'': 3", "there is no setting"),
    "a key twice": ("seed: 1\nseed: 2", "line 2: seed is given twice"),
    "a merge of a number": ("<<: 3", "expected a mapping or list of mappings"),
    "a section by two names": ('matching: 3\n"matching.batch": 4', "matching is a section, not 3"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "NUL": ("name: a\0b", "special characters are not allowed"),
    "NUL, escaped": (r'name: "a\0b"', "it must be free of NUL characters"),
    "half a character": (r'name: "\ud800"', "name is"),
    "a control sequence": (r'name: "\e[31m"', "must be a plain name"),
    "a name of 300 letters": ("name: " + "a" * 300, "a plain name of at most 200 bytes"),
    "a name that climbs": ("name: ../../victim", "must be a plain name"),
    "more than 100,000 bytes": ("name: " + "a" * 100_000, "is larger than 100,000 bytes"),
    "nothing": ("", "must be a mapping of settings"),
    "a word": ("hello", "must be a mapping of settings"),
}


def refused(path: Path) -> str:
    """What is said of it, within two seconds of a processor and 50 MB."""
    start, memory = time.process_time(), getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecoctError) as error:
        load_recipe(path)
    assert time.process_time() - start < 2
    assert getrusage(RUSAGE_SELF).ru_maxrss - memory < 50_000  # kilobytes
    said = str(error.value)
    assert "\n" not in said and len(said) < 1000
    return said


@pytest.mark.parametrize("what", TEXTS)
def test_a_text_that_is_no_recipe(what: str, tmp_path: Path) -> None:
    text, sentence = TEXTS[what]
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    said = refused(tmp_path / "mine.yaml")
    assert sentence in said and "mine.yaml" in said


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"name: \xff")
    assert "is not valid YAML: invalid start byte" in refused(tmp_path / "mine.yaml")


def test_a_file_of_100_mb(tmp_path: Path) -> None:
    with (tmp_path / "mine.yaml").open("wb") as file:
        file.truncate(100_000_000)
    assert "is larger than 100,000 bytes" in refused(tmp_path / "mine.yaml")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert "cannot be read (it is a pipe, a device or a socket, not a file)" in refused(path)
    assert "cannot be read (Is a directory)" in refused(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "x" * 5000, "/".join(["x" * 200] * 30)])
def test_a_name_that_no_file_can_have(name: str) -> None:
    assert "cannot be read" in refused(Path(name))


def test_what_other_programs_write_is_read(tmp_path: Path) -> None:
    """Windows marks UTF-8, and its shell writes UTF-16; a date may be a name."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "mine.yaml").write_text("name: 2020-13-45\r\nseed: 3\r\n", encoding=encoding)
        recipe = load_recipe(tmp_path / "mine.yaml")
        assert (recipe.name, recipe.seed) == ("2020-13-45", 3)
        (tmp_path / "again.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        assert load_recipe(tmp_path / "again.yaml") == recipe


def test_an_alias_may_save_writing(tmp_path: Path) -> None:
    text = "pretrain: {network: &n {width: 8}}\nexperts: {network: {<<: *n, depth: 2}}"
    (tmp_path / "mine.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.experts.network.width == recipe.pretrain.network.width == 8
