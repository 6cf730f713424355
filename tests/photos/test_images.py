"""Image files as arrays and back: kinds of pixels, orientation, formats, and what is refused."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from nncf_slb.photos.images import ImageError, Photo, check_fits, find_format, read_photo, resize_bicubic, write_photo

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = GENERATOR.integers(0, 256, (5, 7, 3), dtype=np.uint8)
OPACITY = GENERATOR.integers(0, 256, (5, 7, 1), dtype=np.uint8)
WIDE = GENERATOR.integers(0, 65536, (5, 7), dtype=np.uint16)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def planes(pixels, largest=255):
    """[height, width(, channels)] as `Photo` holds it."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(largest)


def saved(folder, pixels, name="p.png", **settings):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(folder / name, **settings)
    return folder / name


@pytest.mark.parametrize(
    ("pixels", "values", "alpha"),
    [
        (GREY, planes(GREY), None),
        (RGB, planes(RGB), None),
        (np.dstack([GREY, OPACITY]), planes(GREY), planes(OPACITY)),
        (np.dstack([RGB, OPACITY]), planes(RGB), planes(OPACITY)),
    ],
    ids=["L", "RGB", "LA", "RGBA"],
)
@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_grey_colours_and_alpha_are_read_and_written_exactly(pixels, values, alpha, name, tmp_path):
    photo = read_photo(saved(tmp_path, pixels, name))
    np.testing.assert_array_equal(photo.values, values)
    assert (photo.alpha is None) == (alpha is None) and photo.bits == 8
    if alpha is not None:
        np.testing.assert_array_equal(photo.alpha, alpha)
    write_photo(photo, tmp_path / f"again-{name}")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"again-{name}")), pixels)


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_grey_of_16_bits_keeps_them(name, tmp_path):
    photo = read_photo(saved(tmp_path, WIDE, name))
    np.testing.assert_array_equal(photo.values, planes(WIDE, 65535))
    assert photo.bits == 16
    write_photo(photo, tmp_path / f"again-{name}")
    again = np.asarray(Image.open(tmp_path / f"again-{name}"))
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, WIDE)


def test_grey_of_16_bits_becomes_8_where_the_format_holds_no_more(tmp_path):
    write_photo(read_photo(saved(tmp_path, WIDE)), tmp_path / "again.webp")
    again = np.asarray(Image.open(tmp_path / "again.webp"))
    np.testing.assert_array_equal(again[..., 0], np.rint(WIDE / 257))


def test_a_palette_is_read_as_its_colours(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    photo = read_photo(saved(tmp_path, image))
    assert Image.open(tmp_path / "p.png").mode == "P"
    np.testing.assert_array_equal(photo.values, planes(np.asarray(image.convert("RGB"))))
    assert photo.alpha is None


def test_a_transparent_entry_of_a_palette_is_alpha(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    photo = read_photo(saved(tmp_path, image, transparency=3))
    np.testing.assert_array_equal(photo.alpha[0], (np.asarray(image) != 3).astype(np.float32))
    assert 0 < photo.alpha.mean() < 1


@pytest.mark.parametrize(
    ("pixels", "key"), [(GREY, int(GREY[2, 3])), (RGB, tuple(map(int, RGB[2, 3]))), (WIDE, int(WIDE[2, 3]))]
)
def test_a_value_that_stands_for_transparent_is_alpha(pixels, key, tmp_path):
    photo = read_photo(saved(tmp_path, pixels, transparency=key))
    expected = np.ones((1, 5, 7))
    expected[0][(pixels == key).reshape(5, 7, -1).all(axis=-1)] = 0
    assert expected.min() == 0
    np.testing.assert_array_equal(photo.alpha, expected)
    np.testing.assert_array_equal(photo.values, planes(pixels, 65535 if pixels is WIDE else 255))
    write_photo(photo, tmp_path / "again.png")  # alpha beside 16 bits cannot be written: 8 bits
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "again.png"))[..., -1], 255 * expected[0])


def test_black_and_white_is_grey(tmp_path):
    photo = read_photo(saved(tmp_path, Image.fromarray(GREY > 127)))
    assert Image.open(tmp_path / "p.png").mode == "1"
    np.testing.assert_array_equal(photo.values[0], GREY > 127)


ORIENTATIONS = {
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("pixels", [RGB, WIDE], ids=["RGB", "I;16"])
def test_the_orientation_of_the_camera_is_applied(orientation, pixels, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(saved(tmp_path, pixels, exif=exif))
    expected = planes(ORIENTATIONS[orientation](pixels), 65535 if pixels is WIDE else 255)
    np.testing.assert_array_equal(photo.values, expected)
    write_photo(photo, tmp_path / "again.png")
    assert 0x0112 not in Image.open(tmp_path / "again.png").getexif()  # else viewers would turn it again


@pytest.mark.parametrize("name", ["again.png", "again.jpg", "again.webp", "again.tif"])
def test_the_colour_profile_is_kept(name, tmp_path):
    write_photo(read_photo(saved(tmp_path, RGB, icc_profile=PROFILE)), tmp_path / name)
    assert Image.open(tmp_path / name).info["icc_profile"] == PROFILE


def test_the_profile_of_print_colours_is_not_kept_for_rgb(tmp_path):
    path = saved(tmp_path, Image.fromarray(RGB).convert("CMYK"), "p.jpg", icc_profile=PROFILE)
    photo = read_photo(path)
    assert len(photo.values) == 3 and photo.icc_profile is None


def test_values_outside_the_range_are_cut_off_and_others_rounded(tmp_path):
    values = np.array([[[-0.5, 0, 0.4999 / 255, 0.5001 / 255, 1, 1.5]]], np.float32)
    write_photo(Photo(values), tmp_path / "p.png")
    assert np.asarray(Image.open(tmp_path / "p.png")).tolist() == [[0, 0, 0, 1, 255, 255]]


def test_suffixes_in_capitals_are_formats_too_and_folders_are_made(tmp_path):
    write_photo(Photo(planes(RGB)), tmp_path / "new" / "P.JPG")
    assert Image.open(tmp_path / "new" / "P.JPG").format == "JPEG"


def test_jpeg_keeps_the_resolution_of_colours(tmp_path):
    write_photo(Photo(planes(RGB)), tmp_path / "p.jpg")
    assert {layer[1:3] for layer in Image.open(tmp_path / "p.jpg").layer} == {(1, 1)}


def test_bicubic_enlargement_is_pillows_on_8_bits_to_rounding():
    middle = 64 + RGB // 2  # with 8 bits Pillow cuts off what overshoots, between its two passes as well
    ours = resize_bicubic(planes(middle), 15, 21)
    expected = planes(np.asarray(Image.fromarray(middle).resize((21, 15), Image.Resampling.BICUBIC)))
    assert ours.dtype == np.float32 and ours.shape == (3, 15, 21)
    np.testing.assert_allclose(ours, expected, atol=1.5 / 255)


@pytest.mark.parametrize("name", ["p.gif", "p", "p.xml"])
def test_an_unknown_suffix_is_refused_with_those_there_are(name):
    with pytest.raises(ImageError, match=rf"output: received '{name}'; allowed are names that end in \.png, \.tif"):
        find_format(name)


def test_alpha_is_refused_where_the_format_has_none():
    check_fits("p.png", True, 5, 5)
    with pytest.raises(ImageError, match=r"JPEG files cannot hold the transparency .*choose .*\.png, \.tif.*remove"):
        check_fits("p.jpg", True, 5, 5)


@pytest.mark.parametrize(("name", "most"), [("p.webp", 16383), ("p.jpg", 65500)])
def test_more_pixels_than_a_format_holds_are_refused(name, most):
    check_fits(name, False, 1, most)
    with pytest.raises(ImageError, match=rf"1 x {most + 1} pixels, and \w+ files hold at most {most} a side; .*\.png"):
        check_fits(name, False, most + 1, 1)


def truncated(folder):
    path = saved(folder, GENERATOR.integers(0, 256, (64, 64, 3), dtype=np.uint8), "p.jpg")
    path.write_bytes(path.read_bytes()[:-900])
    return path


def damaged(folder):
    path = saved(folder, GENERATOR.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(bytes(content))
    return path


def no_image(folder):
    (folder / "p.png").write_text("no image")
    return folder / "p.png"


def empty(folder):
    (folder / "p.png").touch()
    return folder / "p.png"


REFUSED = {
    "absent": (lambda folder: folder / "absent.png", r"absent\.png: there is no such file"),
    "folder": (lambda folder: folder, "there is no such file"),
    "truncated": (truncated, r"p\.jpg: it is damaged or cannot be read \(.*truncated.*\); copy or save it again"),
    "damaged": (damaged, r"p\.png: it is damaged or cannot be read"),
    "no image": (no_image, r"p\.png: it is no image that Pillow can read"),
    "empty": (empty, r"p\.png: it is no image that Pillow can read"),
    "float": (
        lambda folder: saved(folder, np.zeros((4, 4), np.float32), "p.tif"),
        r"p\.tif: its values are of Pillow's mode F; allowed are 8 bits, and 16 bits of grey",
    ),
    "32 bits": (
        lambda folder: saved(folder, np.zeros((4, 4), np.int32), "p.tif"),
        r"p\.tif: its values are of Pillow's mode I;",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_usable_photo_is_refused(kind, tmp_path):
    make, message = REFUSED[kind]
    with pytest.raises(ImageError, match=message):
        read_photo(make(tmp_path))


def test_more_pixels_than_pillow_allows_are_refused_and_half_as_many_are_read(tmp_path, monkeypatch, recwarn):
    path = saved(tmp_path, RGB)  # 35 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert read_photo(path).values.shape == (3, 5, 7)
    assert not [each for each in recwarn if issubclass(each.category, Image.DecompressionBombWarning)]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match=r"p\.png: it has more than the 20 pixels that Pillow reads.* cut the photo"):
        read_photo(path)


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path, RGB)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImageError, match=r"Photos need the extra 'images': pip install '\.\[images\]'"):
        read_photo(path)


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    def disk_full(self, path, *args, **settings):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    path = saved(tmp_path, RGB)
    before = path.read_bytes()
    monkeypatch.setattr(Image.Image, "save", disk_full)
    with pytest.raises(ImageError, match=r"p\.png', which cannot be written \(No space left on device\)"):
        write_photo(Photo(planes(GREY)), path)
    assert [each.name for each in tmp_path.iterdir()] == ["p.png"] and path.read_bytes() == before
