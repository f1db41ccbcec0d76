"""The station of a photograph is its folder without the folders of cameras."""

import pytest

from linnaea.standards.stations import find_station, split_station


@pytest.mark.parametrize(
    ("path", "station"),
    [
        ("stations/Station A/DCIM/100RECNX/IMG_0001.JPG", "stations/Station A"),
        ("stations/Station A/DCIM/101RECNX/IMG_0001.JPG", "stations/Station A"),
        ("stations/Station A/dcim/101_BTCF/IMG_0001.JPG", "stations/Station A"),
        ("stations/Station A/DCIM/IMG_0001.JPG", "stations/Station A"),
        ("stations/Station A/100MEDIA/IMG_0001.JPG", "stations/Station A"),
        ("stations/Station A/IMG_0001.JPG", "stations/Station A"),
        ("stations/Station A/DCIM/100RECNX/best/IMG_0001.JPG", "stations/Station A/DCIM/100RECNX/best"),
        ("phone/DCIM/Camera/IMG_0001.JPG", "phone/DCIM/Camera"),
        ("plots/100 north/IMG_0001.JPG", "plots/100 north"),
        ("plots/120PLOTS/IMG_0001.JPG", "plots/120PLOTS"),
        ("plots/099RECNX/IMG_0001.JPG", "plots/099RECNX"),
        ("DCIM/100RECNX/IMG_0001.JPG", "."),
        ("100RECNX/IMG_0001.JPG", "."),
        ("IMG_0001.JPG", "."),
        ("/media/card/DCIM/100RECNX/IMG_0001.JPG", "/media/card"),
        ("/DCIM/100RECNX/IMG_0001.JPG", "/"),
    ],
)
def test_folders_of_cameras_are_no_stations(path, station):
    assert find_station(path) == station


def test_stations_are_compared_in_one_case_and_one_unicode_form():
    expected = ("north", "\u00e9tang")
    assert split_station("North/E\u0301tang/") == split_station("north\\\u00e9tang") == expected
