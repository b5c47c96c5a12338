"""Presets: their values, their keys, their registries."""

import dataclasses
import pickle
from typing import Any

import pytest

from imageproxy import BLUESKY, DEFAULT, FitMode, InvalidPresetError, Preset, PresetRegistry, get_preset, list_presets

SQUARE = Preset("square", 100, 100, FitMode.COVER, 80)

GOLDEN_KEYS = {
    "avatar": "avatar-2f55ae2a0219",
    "avatar_small": "avatar_small-7b605c11537c",
    "banner": "banner-85ecce85f2e2",
    "content_preview": "content_preview-1528b048fae6",
    "content_full": "content_full-9395178ef788",
    "embed_thumbnail": "embed_thumbnail-fd13a8dc61e3",
}


def test_default_presets_are_those_of_the_original() -> None:
    assert [(p.name, p.width, p.height, p.fit.value, p.quality, p.format) for p in DEFAULT] == [
        ("avatar", 1000, 1000, "cover", 85, "jpeg"),
        ("avatar_small", 360, 360, "cover", 80, "jpeg"),
        ("banner", 640, 300, "cover", 85, "jpeg"),
        ("content_preview", 800, 0, "contain", 80, "jpeg"),
        ("content_full", 1600, 0, "contain", 90, "jpeg"),
        ("embed_thumbnail", 720, 360, "cover", 80, "jpeg"),
    ]


def test_bluesky_presets_are_those_of_the_reference_source() -> None:
    assert [(p.name, p.width, p.height, p.fit.value, p.quality, p.format, p.enlarges) for p in BLUESKY] == [
        ("avatar", 1000, 1000, "cover", 100, "webp", True),
        ("banner", 3000, 1000, "cover", 100, "webp", True),
        ("feed_thumbnail", 2000, 2000, "contain", 100, "webp", True),
        ("feed_fullsize", 1000, 1000, "contain", 100, "webp", True),
    ]


def test_keys_stay_what_they_were() -> None:
    """A changed key throws away every cached image of every user: these may only grow."""
    assert {preset.name: preset.key for preset in DEFAULT} == GOLDEN_KEYS
    assert {preset.name: preset.key for preset in BLUESKY} == {
        "avatar": "avatar-4d4488ef3504",
        "banner": "banner-ce01a4366da1",
        "feed_thumbnail": "feed_thumbnail-9e49e11d9a24",
        "feed_fullsize": "feed_fullsize-7581e8ade520",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"width": 101},
        {"height": 101},
        {"fit": FitMode.CONTAIN},
        {"quality": 81},
        {"format": "webp"},
        {"background": "#000000"},
        {"enlarge": True},
        {"position": (0.5, 0.0)},
        {"format": "webp", "animated": True},
        {"progressive": True},
    ],
)
def test_every_parameter_changes_the_key(change: dict[str, Any]) -> None:
    changed = dataclasses.replace(SQUARE, **change)
    assert changed.key != SQUARE.key
    assert changed.key.startswith("square-")


def test_a_parameter_at_its_default_does_not_change_the_key() -> None:
    spelled_out = Preset(
        "square", 100, 100, FitMode.COVER, 80, "jpeg", "#FFFFFF", None, (0.5, 0.5), animated=False, progressive=False
    )
    assert spelled_out == SQUARE
    assert spelled_out.key == SQUARE.key


def test_presets_are_values() -> None:
    twin = pickle.loads(pickle.dumps(SQUARE))
    assert twin == SQUARE
    assert hash(twin) == hash(SQUARE)
    assert twin.key == SQUARE.key
    with pytest.raises(dataclasses.FrozenInstanceError):
        SQUARE.width = 5  # type: ignore[misc]


def test_the_fit_may_be_text() -> None:
    assert Preset("square", 100, 100, "cover", 80) == SQUARE  # type: ignore[arg-type]


def test_enlarging_follows_the_fit_unless_said() -> None:
    assert SQUARE.enlarges
    assert not dataclasses.replace(SQUARE, fit=FitMode.CONTAIN).enlarges
    assert dataclasses.replace(SQUARE, fit=FitMode.CONTAIN, enlarge=True).enlarges


def test_the_content_type_follows_the_format() -> None:
    assert SQUARE.content_type == "image/jpeg"
    assert SQUARE.with_format("avif").content_type == "image/avif"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "Upper"),
        ("name", "a/b"),
        ("name", "a@b"),
        ("name", "a" * 65),
        ("name", None),
        ("width", 0),
        ("width", -1),
        ("width", 16001),
        ("width", 1.5),
        ("width", True),
        ("height", 0),
        ("height", -5),
        ("fit", "stretch"),
        ("fit", None),
        ("quality", 0),
        ("quality", 101),
        ("format", "gif"),
        ("format", None),
        ("background", "white"),
        ("background", "#fff"),
        ("background", None),
        ("enlarge", 1),
        ("enlarge", False),
        ("position", (0.5,)),
        ("position", (0.5, 1.5)),
        ("position", ("left", "top")),
        ("position", None),
        ("position", (float("nan"), 0.5)),
        ("animated", 1),
        ("animated", True),  # a JPEG does not move
        ("progressive", None),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidPresetError, match=field) as caught:
        dataclasses.replace(SQUARE, **{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidPresetError, match="format"):
        SQUARE.with_format("bmp")


def test_another_format_is_without_animation() -> None:
    moving = dataclasses.replace(SQUARE, format="webp", animated=True)

    assert moving.with_format("jpeg") == SQUARE
    assert moving.with_format("jpeg").key == SQUARE.key
    assert moving.with_format("webp") == moving
    assert moving.key != SQUARE.with_format("webp").key


def test_the_keys_of_added_parameters_stay_what_they_were() -> None:
    """As the others: these may only grow."""
    assert dataclasses.replace(SQUARE, format="webp", animated=True).key == "square-fdea316ed1f4"
    assert dataclasses.replace(SQUARE, progressive=True).key == "square-a235c6154523"


def test_get_preset_looks_in_the_default_registry() -> None:
    assert get_preset("avatar") is DEFAULT.get("avatar")
    with pytest.raises(InvalidPresetError, match="avatar_small"):
        get_preset("nope")


def test_list_presets_is_sorted_by_name() -> None:
    names = [preset.name for preset in list_presets()]
    assert names == sorted(names)
    assert len(names) == len(DEFAULT) == 6


def test_a_registry_can_be_extended_without_changing_it() -> None:
    wider = DEFAULT.with_presets(SQUARE, dataclasses.replace(SQUARE, name="avatar"))
    assert wider.get("square") is SQUARE
    assert wider.get("avatar").width == 100
    assert len(wider) == 7
    assert "square" not in DEFAULT
    assert DEFAULT.get("avatar").width == 1000


def test_two_presets_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidPresetError, match="square"):
        PresetRegistry([SQUARE, SQUARE])


@pytest.mark.parametrize("name", ["", "Avatar", None, 5, [], "x" * 5000])
def test_an_unknown_name_is_refused_with_the_known_ones(name: object) -> None:
    with pytest.raises(InvalidPresetError, match="there are: avatar") as caught:
        DEFAULT.get(name)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


def test_an_empty_registry_says_so() -> None:
    with pytest.raises(InvalidPresetError, match="none"):
        PresetRegistry().get("avatar")
    assert repr(PresetRegistry([SQUARE])) == "PresetRegistry(square)"
    assert 5 not in DEFAULT
