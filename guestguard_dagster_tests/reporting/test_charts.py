"""Charts: readable at a glance, small enough to be kept with every materialization, and never wrong about a height."""

from io import BytesIO

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.reporting.charts import LARGEST_PNG, Series, stacked_bars
from guestguard_dagster.reporting.outcomes import COLOURS, outcome_series

RED, BLUE = "#c00000", "#0000c0"


def height_of(png: bytes, colour: str) -> int:
    """How many rows of the picture have a pixel of about this colour."""
    wanted = tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
    picture = PIL.Image.open(BytesIO(png)).convert("RGB").crop((98, 60, 1036, 330))
    rows = [
        any(
            max(abs(a - b) for a, b in zip(picture.getpixel((x, y)), wanted, strict=True)) < 12  # type: ignore[arg-type]  # RGB: a tuple
            for x in range(0, picture.width, 3)
        )
        for y in range(picture.height)
    ]
    return sum(rows)


def test_a_bar_is_as_high_as_its_value() -> None:
    png = stacked_bars("Two to one", ["a"], [Series("red", RED, [200]), Series("blue", BLUE, [100])])

    assert height_of(png, RED) == pytest.approx(2 * height_of(png, BLUE), abs=3)


def test_without_anything_to_show_the_chart_says_so() -> None:
    empty = stacked_bars("Nothing", ["a", "b"], [Series("red", RED, [0, 0])])
    blank = stacked_bars("Nothing", [], [])

    assert height_of(empty, RED) == 0
    assert PIL.Image.open(BytesIO(blank)).size == (1064, 420)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(list(DeliveryStatus)), st.integers(0, 10_000_000)), min_size=1, max_size=60
    )
)
def test_no_chart_of_outcomes_is_too_large_to_be_kept(
    counted: list[dict[DeliveryStatus, int]],
) -> None:
    labels = [f"{number:02} Nov" for number in range(len(counted))]
    assert len(stacked_bars("Deliveries per day by outcome", labels, outcome_series(counted))) <= LARGEST_PNG


def test_every_outcome_is_shown() -> None:
    assert set(COLOURS) == set(DeliveryStatus)
