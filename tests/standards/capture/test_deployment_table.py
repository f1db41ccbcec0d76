"""The user's table of deployments: what it accepts, what it refuses, which photograph it matches."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from linnaea.standards.capture.deployment_table import correct_clock, read_deployments


def make_table(tmp_path, text, name="deployments.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def at(text):
    return datetime.fromisoformat(text)


def test_a_station_is_matched_by_its_folders_and_the_dates(tmp_path):
    table = read_deployments(
        make_table(
            tmp_path,
            "station,latitude,longitude,start,end,camera\n"
            "Station A,-2.33,34.83,2024-05-01,2024-05-31,c1\n"
            "station a,-2.33,34.83,2024-06-01,2024-06-30,c2\n"
            "north/Station A,1,2,,,c3\n",
        )
    )
    first, second, north = table.entries
    assert table.match("x/Station A", at("2024-05-31T23:59:59"))[0] is first
    assert table.match("x/Station A/left", at("2024-06-01T00:00:00"))[0] is second
    assert table.match("x/North/station a", at("2024-05-02T00:00:00"))[0] is north
    assert table.match("x/Station A", at("2024-07-01T00:00:00")) == (None, "taken outside the dates of its deployments")
    assert table.match("x/Station AB", at("2024-05-02T00:00:00")) == (None, "no deployment of this station")
    entry, reason = table.match("x/Station A", None)
    assert entry is None
    assert reason == "no capture time, and more than one deployment fits: lines 2, 3"
    assert first.deployment.place == (-2.33, 34.83)
    assert len({entry.deployment.id for entry in table.entries}) == 3


def test_the_columns_of_camtrap_dp_and_decimal_commas_are_read(tmp_path):
    text = (
        "deploymentID;locationName;latitude;longitude;deploymentStart;deploymentEnd;cameraID;cameraModel\n"
        "d1;Station A;50,5;4,5;2024-05-01T00:00:00Z;2024-05-31T00:00:00Z;c1;HC500\n"
    )
    (entry,) = read_deployments(make_table(tmp_path, text)).entries
    deployment = entry.deployment
    assert (deployment.id, deployment.station, deployment.place) == ("d1", "Station A", (50.5, 4.5))
    assert (deployment.start, deployment.camera, deployment.camera_model) == (
        "2024-05-01T00:00:00+00:00",
        "c1",
        "HC500",
    )
    assert entry.contains(at("2024-05-31T01:00:00+02:00"))
    assert not entry.contains(at("2024-05-31T03:00:00+02:00"))
    # Without a zone, the clock on the wall is compared.
    assert entry.contains(at("2024-05-30T23:00:00"))


def test_times_without_a_zone_get_that_of_the_run(tmp_path):
    zone = timezone(timedelta(hours=2))
    (entry,) = read_deployments(make_table(tmp_path, "station,start\nA,2024-05-01 12:00\n"), zone).entries
    assert entry.deployment.start == "2024-05-01T12:00:00+02:00"


def test_an_offset_corrects_the_clock_before_the_dates_are_compared(tmp_path):
    text = "station,start,end,offset\nA,2024-05-01,2024-05-02,19844d\n"
    table = read_deployments(make_table(tmp_path, text))
    clock = at("1970-01-01T00:00:10")
    entry, _reason = table.match("A", clock)
    assert entry is table.entries[0]
    now = datetime(2025, 1, 1, tzinfo=UTC)
    assert correct_clock(clock, entry.offset, now) == at("2024-05-01T00:00:10")
    assert correct_clock(clock, timedelta(days=1), now) is None


def test_cameras_that_stand_at_one_station_at_one_time_are_told_apart(tmp_path):
    text = (
        "station,camera,start,end\n"
        "A,left,2024-05-01,2024-05-31\nA,right,2024-05-10,2024-05-31\nA,left,2024-06-02,2024-06-30\n"
    )
    table = read_deployments(make_table(tmp_path, text))
    assert [entry.deployment.station for entry in table.entries] == ["A (left)", "A (right)", "A"]
    assert table.match("cards/A/right", at("2024-05-20T00:00:00"))[0] is table.entries[1]
    assert table.match("cards/A", at("2024-05-20T00:00:00"))[1] == "more than one deployment fits: lines 2, 3"


def test_a_camera_that_replaced_another_on_a_day_is_of_the_same_station(tmp_path):
    text = "station,camera,start,end\nA,old,2024-05-01,2024-05-31\nA,new,2024-05-31,2024-06-30\n"
    table = read_deployments(make_table(tmp_path, text))
    assert [entry.deployment.station for entry in table.entries] == ["A", "A"]
    assert table.match("A", at("2024-06-01T00:00:00"))[0] is table.entries[1]
    # Nothing says which of the two took a photograph on that day.
    assert table.match("A", at("2024-05-31T12:00:00"))[1] == "more than one deployment fits: lines 2, 3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("place,latitude\nA,1\n", "has no column that names stations; add one of station"),
        ("station,latitude\n", "has no rows"),
        ("station,latitude,longitude\n,1,2\n", "line 2: no station"),
        ("station,latitude,longitude\nA,95,2\n", "line 2: latitude '95' is not a place; give degrees from -90 to 90"),
        ("station,latitude,longitude\nA,1,\n", "line 2: longitude '' is not a place"),
        ("station,latitude,longitude\nA,0,0\n", "line 2: 0, 0 is in the open sea"),
        ("station,start\nA,spring\n", "line 2: start 'spring' is not a time; write 2024-05-31"),
        ("station,start\nA,2024-02-30\n", "line 2: start '2024-02-30' is not a time"),
        ("station,start,end\nA,2024-05-02,2024-05-01\n", "line 2: the end 2024-05-01 is before the start 2024-05-02"),
        ("station,offset\nA,soon\n", "line 2: offset 'soon' is not a time to add"),
        ("station,start\nA,2024-05-01\nA,2024-05-01\n", "line 3: the same deployment as in line 2"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_file_line_and_remedy(tmp_path, text, message):
    path = make_table(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_deployments(path)
    assert str(path) in str(caught.value)
