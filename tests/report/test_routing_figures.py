"""The figures of a routing and of studies show the numbers of the document."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from taskfold.report import read_results, routing_record
from taskfold.report._svg import to_svg
from taskfold.report.figures import clusters, distributions, routing, similarity, studies
from taskfold.report.figures._places import places
from taskfold.report.schema import Routing, Study

from .languages import FAMILIES, LANGUAGES, Inventory, languages


@pytest.fixture(name="found", scope="module")
def _found() -> Routing:
    return Routing.model_validate(routing_record(Inventory(groups=2, experts=4, blocks=2), LANGUAGES, "MHR"))


def _one(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure


def _x(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), dtype=float)


def _image(axes: Axes) -> np.ma.MaskedArray[Any, Any]:
    return np.ma.asarray(axes.images[0].get_array())


def test_each_panel_is_one_task_block_by_block(found: Routing) -> None:
    panels = [axes for axes in _one(routing.figure(found)).axes if axes.get_title(loc="left")]
    assert len(panels) == 6
    model = Inventory(groups=2, experts=4, blocks=2)
    for axes in panels:
        alpha = model.alpha[axes.get_title(loc="left")]
        image = _image(axes)
        assert image.shape == (4, 11 * 4)  # encoder and decoder; 4 + 3 + 4 kinds of layers
        encoder_k = alpha["encoder.block.1.layer.0.SelfAttention.k"].mean(0)
        decoder_o = alpha["decoder.block.0.layer.1.EncDecAttention.o"].mean(0)
        np.testing.assert_allclose(image[1, 4:8], encoder_k, atol=1e-4)
        np.testing.assert_allclose(image[2, 40:44], decoder_o, atol=1e-4)
        blank = np.ma.getmaskarray(image)
        assert blank[:2, 28:].all()  # the encoder has no cross-attention
        assert not blank[2:].any()
        assert not blank[:, :28].any()


def test_the_overview_is_the_difference_from_the_mean_task(found: Routing) -> None:
    axes = _one(routing.overview(found)).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names) == sorted(LANGUAGES)
    image, model = _image(axes), Inventory(groups=2, experts=4, blocks=2)
    np.testing.assert_allclose(image.sum(0), 0, atol=1e-3)
    cross = [f"decoder.block.{block}.layer.1.EncDecAttention.q" for block in (0, 1)]
    means = {name: np.mean([model.alpha[name][layer].mean(0) for layer in cross], axis=0) for name in names}
    expected = means["Welsh"] - np.mean(list(means.values()), axis=0)
    np.testing.assert_allclose(image[names.index("Welsh"), 28:32], expected, atol=1e-3)


def test_families_are_neighbours_in_the_tree(found: Routing) -> None:
    left, right = _one(clusters.figure(found)).axes[:2]
    names = [label.get_text() for label in right.get_yticklabels()]
    for members in FAMILIES.values():
        at = sorted(names.index(name) for name in members)
        assert at == list(range(at[0], at[0] + len(members)))
    order = [found.tasks.index(name) for name in names]
    np.testing.assert_allclose(_image(right), np.array(found.distances)[np.ix_(order, order)])
    assert len(left.lines) == len(LANGUAGES) - 1
    # Average linkage ends at the mean distance between the last two groups, the deepest branch.
    deepest = max(float(_x(line).max()) for line in left.lines)
    assert 0 < deepest <= np.max(found.distances)


def test_labels_of_many_tasks_do_not_overlap(found: Routing) -> None:
    for draw in (clusters.figure, routing.overview):
        figure = _one(draw(found))
        figure.draw_without_rendering()
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
            assert all(box.count_overlaps(boxes[:index]) == 0 for index, box in enumerate(boxes))


def test_one_task_and_tasks_that_mix_alike_have_no_tree() -> None:
    model = Inventory(groups=1, experts=4, blocks=1)
    model.alpha["Dutch"] = model.alpha["German"]
    for tasks in (("German",), ("German", "Dutch")):
        alike = Routing.model_validate(routing_record(model, tasks, "Poly"))
        assert clusters.figure(alike) is None
        assert routing.overview(alike) is None
        assert routing.figure(alike) is not None


def test_similarity_is_the_mean_over_pairs(found: Routing) -> None:
    figure = _one(similarity.figure(found))
    means = {}
    for layer in found.layers:
        cosines = np.array(layer.similarity, dtype=float)
        means[layer.layer] = np.abs(cosines[~np.eye(4, dtype=bool)]).mean()
    dots = np.concatenate([np.asarray(line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() == "o"])
    np.testing.assert_allclose(sorted(dots), sorted(means.values()))
    least = next(layer for layer in found.layers if layer.layer == min(means, key=means.__getitem__))
    np.testing.assert_allclose(_image(figure.axes[1]), np.array(least.similarity, dtype=float))


def test_distributions_are_shares(found: Routing) -> None:
    left, right = _one(distributions.figure(found)).axes[:2]
    for patch in (*left.patches, *right.patches):
        values = patch.get_data().values  # type: ignore[attr-defined]
        assert values.sum() == pytest.approx(100)
    assert len(left.patches) == 4
    assert _x(right.lines[0])[0] == 1 / 4


def test_a_network_without_blocks_or_experts_to_compare_is_drawn() -> None:
    layer = {"layer": "fc", "alpha": [[[1.0]], [[1.0]]]}
    bare = Routing.model_validate(
        {"label": "x", "tasks": ["a", "b"], "layers": [layer], "distances": [[0, 0.5], [0.5, 0]]}
    )
    assert similarity.figure(bare) is None
    assert distributions.figure(bare) is None
    for draw in (routing.figure, routing.overview, clusters.figure):
        assert _one(draw(bare)).axes


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["a.0.1.conv", "a.0.2.conv"], [("a 0", "1", "conv"), ("a 0", "2", "conv")]),
        (["blocks.3.attn.qkv", "head"], [("block 3", "attention", "qkv"), ("outside", "", "head")]),
        (["encoder.layer.0.output.dense"], [("encoder 0", "output", "dense")]),
        (["features.0", "features.1"], [("features 0", "", "features"), ("features 1", "", "features")]),
        (["0", "2"], [("block 0", "", "0"), ("block 2", "", "2")]),
    ],
)
def test_layers_have_places_of_their_own(layers: list[str], expected: list[tuple[str, str, str]]) -> None:
    assert [(place.row, place.part, place.name) for place in places(layers)] == expected


def test_studies_draw_the_means_and_the_band() -> None:
    results = read_results(languages(groups=1, blocks=1))
    loss, rank = (_one(studies.figure(results, study)) for study in results.studies)
    assert [text.get_text() for text in loss.axes[0].texts] == [
        "TensorPoly-II", "TensorPoly-I", "MHR", "Poly", "TLoRA", "LoRA private", "LoRA shared",
    ]  # fmt: skip
    axes = rank.axes[0]
    assert list(axes.xaxis.get_majorticklocs()) == [1, 2, 4, 8, 16]
    for line, band, series in zip(axes.lines, axes.collections, results.studies[1].series, strict=True):
        assert np.asarray(line.get_ydata()).tolist() == list(series.mean)
        heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
        ends = np.array(series.mean, dtype=float) + np.array(series.std, dtype=float)
        assert heights.max() == pytest.approx(ends.max())
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(styles) == len(axes.lines)


def test_what_was_not_measured_is_left_out_of_a_line() -> None:
    results = read_results(languages(groups=1, blocks=1))
    series = {"label": "Poly", "x": [4, 1, 2], "mean": [3.0, 1.0, None], "std": [0.1, None, None]}
    axes = _one(studies.figure(*_with(results, {"title": "t", "x": "x", "y": "y", "series": [series]}))).axes[0]
    assert list(_x(axes.lines[0])) == [1, 4]
    empty = {"title": "t", "x": "x", "y": "y", "series": [series | {"mean": [None] * 3}]}
    assert studies.figure(*_with(results, empty)) is None


def _with(results: Any, study: dict[str, Any]) -> tuple[Any, Study]:
    checked = Study.model_validate(study)
    return results.model_copy(update={"studies": (checked,)}), checked


def test_names_are_never_formulas() -> None:
    model = Inventory(groups=1, experts=4, blocks=1)
    names = ("_$x^2$", "<b>&")
    model.alpha |= dict(zip(names, (model.alpha["Irish"], model.alpha["Greek"]), strict=True))
    found = Routing.model_validate(routing_record(model, names, "Poly"))
    for draw in (routing.figure, routing.overview, clusters.figure):
        svg = to_svg(_one(draw(found)), "name", "title")
        assert ">_$x^2$</text>" in svg
        assert ">&lt;b&gt;&amp;</text>" in svg
