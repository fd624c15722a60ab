from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from taskfold.dense import Augment, DenseSample, Normals, View

from . import scene as plane

VIEWS = {
    "as it is": View((24, 32), (24, 32)),
    "flipped": View((24, 32), (24, 32), flip=True),
    "twice as large, cut": View((48, 64), (20, 26), top=9, left=17),
    "half as large, padded": View((12, 16), (24, 32), top=-5, left=-9),
    "cut, padded and flipped": View((36, 48), (40, 20), top=-3, left=12, flip=True),
}


def seen_coordinates(view: View) -> tuple[np.ndarray, np.ndarray, float]:
    """For each pixel of a view, where it lies in the original image; and the scale."""
    y, x = np.mgrid[: view.crop[0], : view.crop[1]] + 0.5
    x = view.crop[1] - x if view.flip else x
    scale = view.size[0] / plane.HEIGHT
    return (x + view.left) / scale, (y + view.top) / scale, scale


def apply(view: View, kinds: Any = plane.KINDS) -> DenseSample:
    return Augment(flip=0).apply(plane.scene(), view, kinds)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_depth_and_normals_stay_those_of_one_plane(view: View) -> None:
    """The camera's focal length stays, so the surface that depth describes must have the normals that are given."""
    sample = apply(view)
    depth, normals = sample.targets["depth"][0].double().numpy(), sample.targets["normals"].double().numpy()
    x, y, scale = seen_coordinates(view)
    valid = depth > 0
    assert valid.sum() > 50
    assert np.array_equal(valid, (normals != 0).any(0))
    # Nearest pixels are at most half a pixel of the original away.
    slack = max(
        np.abs(np.gradient(plane.depth_at(*np.meshgrid(np.arange(32.0), np.arange(24.0))))[axis]).max()
        for axis in (0, 1)
    )
    assert np.abs(depth * scale - plane.depth_at(x, y))[valid].max() <= slack + 1e-5

    # Points from depth alone, by the camera that goes with the view; the plane through them by least squares.
    column = (x * scale - plane.WIDTH / 2 * scale) * (-1 if view.flip else 1)
    points = np.stack([column / plane.FOCAL, (y - plane.HEIGHT / 2) * scale / plane.FOCAL, np.ones_like(x)]) * depth
    cloud = points[:, valid] - points[:, valid].mean(1, keepdims=True)
    fitted = np.linalg.svd(cloud, full_matrices=False)[0][:, 2]
    cosine = np.abs(fitted @ normals[:, valid])
    assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 1.0
    assert np.allclose(np.linalg.norm(normals[:, valid], axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_every_target_comes_from_the_pixel_where_it_is_seen(view: View) -> None:
    x, y, _ = seen_coordinates(view)
    column, row = np.floor(x + 1e-9).astype(int), np.floor(y + 1e-9).astype(int)
    inside = (column >= 0) & (column < plane.WIDTH) & (row >= 0) & (row < plane.HEIGHT)
    original, found = plane.scene(), apply(view)
    for task in ("segmentation", "edges"):
        kind = plane.KINDS[task]
        expected = np.full(view.crop, kind.invalid, np.float32)
        expected[inside] = original.targets[task][0].numpy()[row[inside], column[inside]]
        assert np.array_equal(found.targets[task][0].float().numpy(), expected), task


def test_the_image_goes_with_its_targets() -> None:
    """The edge is where the picture changes, under any view."""
    sample = plane.scene()
    picture = sample.targets["segmentation"].float().clamp(max=1).expand(3, -1, -1)
    painted = DenseSample(picture, sample.targets)
    for name, view in VIEWS.items():
        seen = Augment(fill=(0.5, 0.5, 0.5)).apply(painted, view, plane.KINDS)
        sure = (seen.image[0] - 0.5).abs() > 0.45
        known = plane.KINDS["segmentation"].valid(seen.targets["segmentation"])[0] & sure
        assert known.sum() > 50, name
        assert torch.equal(seen.image[0][known].round(), seen.targets["segmentation"][0][known].float()), name
        # 0.5 in padding alone, and there in all
        outside = torch.from_numpy(np.logical_or.reduce([
            seen_coordinates(view)[0] < 0, seen_coordinates(view)[0] > plane.WIDTH,
            seen_coordinates(view)[1] < 0, seen_coordinates(view)[1] > plane.HEIGHT,
        ]))  # fmt: skip
        assert (seen.image[0][outside] == 0.5).all(), name


def test_normals_can_be_left_as_published_pipelines_leave_them() -> None:
    kinds = {**plane.KINDS, "normals": Normals(stretch=False)}
    normals = apply(VIEWS["twice as large, cut"], kinds).targets["normals"]
    known = (normals != 0).any(0)
    assert torch.allclose(
        normals[:, known], torch.tensor(plane.NORMAL, dtype=torch.float32)[:, None].expand(3, int(known.sum()))
    )


def test_colours_change_in_the_image_alone() -> None:
    augment = Augment(flip=0, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2)
    sample = plane.scene()
    view = augment.draw(sample.size, torch.Generator().manual_seed(3))
    seen = augment.apply(sample, view, plane.KINDS)
    assert (seen.image - sample.image).abs().mean() > 0.02
    assert 0 <= seen.image.min() <= seen.image.max() <= 1
    assert all(torch.equal(seen.targets[task], sample.targets[task]) for task in plane.KINDS)


def test_what_is_drawn_covers_its_range() -> None:
    augment = Augment(scale=(0.5, 2), crop=(20, 20), flip=0.5)
    generator = torch.Generator().manual_seed(0)
    views = [augment.draw((40, 40), generator) for _ in range(300)]
    sides = [view.size[0] for view in views]
    assert 20 <= min(sides) < 24 and 76 < max(sides) <= 80
    assert 0.4 < np.mean([view.flip for view in views]) < 0.6
    assert all(0 <= view.top <= view.size[0] - 20 for view in views)
    larger = Augment(crop=(41, 38), flip=0)
    offsets = {(view.top, view.left) for view in (larger.draw((40, 40), generator) for _ in range(100))}
    assert offsets == {(top, left) for top in (-1, 0) for left in (0, 1, 2)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": (2, 0.5)}, "low first"),
        ({"scale": (0, 1)}, "scale"),
        ({"crop": (0, 4)}, "crop"),
        ({"flip": 1.5}, "flip must be 0 to 1, found 1.5"),
        ({"hue": 0.6}, "hue must be 0 to 0.5"),
        ({"fill": (0, 0, 255)}, "fill"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**settings)
