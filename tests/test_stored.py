"""Examples from disk: formats, sizes, splits, orders, and a training that goes on with them bit for bit."""

import dataclasses

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from flax import nnx

from giga.io.errors import InputError
from giga.io.stored.labels import open_cutouts
from giga.io.stored.stack import open_stack, sized
from giga.models.training.feed import check_fed
from giga.models.training.loop import Loop
from giga.models.training.order import Balanced, Order
from giga.models.training.source import Blend, Stored, filled, places, read_ahead
from giga.models.training.splits import PARTS, folds, split
from giga.models.training.train import TrainConfig, train
from giga.models.training.validation import draw_sets
from giga.runtime.identity import identity_of
from giga.runtime.parallel import mesh

COUNT, SIDE, BANDS = 40, 8, 3
IMAGES = np.random.default_rng(1).normal(size=(COUNT, SIDE, SIDE, BANDS)).astype(np.float32)
LABELS = (np.arange(COUNT) % 4 == 0).astype(int)  # ten of the second class
IMAGES[LABELS == 1] += 1.0
NAMES = [f"g{k:03d}" for k in range(COUNT)]


def hdf5(folder, **settings):
    with h5py.File(folder / "one.h5", "w") as file:
        made = file.create_dataset("image", data=IMAGES, **settings)
        made.attrs["unit"], made.attrs["bands"] = "count / s", ["g", "r", "i"]
        file["label"], file["name"] = LABELS, NAMES
    return folder / "one.h5"


def chunked(folder):
    return hdf5(folder, chunks=(8, SIDE, SIDE, BANDS), compression="gzip")


def zarr_group(folder):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / "one.zarr"), mode="w")
    group.create_array("image", shape=IMAGES.shape, dtype="f4", chunks=(8, SIDE, SIDE, BANDS))[:] = IMAGES
    group.create_array("label", shape=LABELS.shape, dtype="i4")[:] = LABELS
    group.attrs["unit"] = "count / s"
    return folder / "one.zarr"


def shards(folder):
    (folder / "shards").mkdir()
    for k, part in enumerate(np.split(np.arange(COUNT), [15])):
        with h5py.File(folder / "shards" / f"{k}.h5", "w") as file:
            file["image"], file["label"], file["name"] = IMAGES[part], LABELS[part], [NAMES[i] for i in part]
    return folder / "shards"


def numpy_array(folder):
    np.save(folder / "one.npy", IMAGES)
    return folder / "one.npy"


def cube(folder):
    table = fits.BinTableHDU.from_columns([fits.Column("label", "J", array=LABELS),
                                           fits.Column("name", "4A", array=NAMES)])
    image = fits.PrimaryHDU(np.moveaxis(IMAGES, -1, 1))
    image.header["BUNIT"] = "count/s"
    fits.HDUList([image, table]).writeto(folder / "cube.fits")
    return folder / "cube.fits"


def extensions(folder):
    hdus = [fits.ImageHDU(np.moveaxis(image, -1, 0), name=name) for image, name in zip(IMAGES, NAMES, strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / "mef.fits")
    return folder / "mef.fits"


def cutouts(folder, unit="nJy"):
    (folder / "cutouts").mkdir()
    for image, name in zip(IMAGES, NAMES, strict=True):
        hdu = fits.PrimaryHDU(np.moveaxis(image, -1, 0))
        hdu.header["BUNIT"] = unit
        hdu.writeto(folder / "cutouts" / f"{name}.fits")
    return folder / "cutouts"


FORMATS = [hdf5, chunked, zarr_group, shards, numpy_array, cube, extensions, cutouts]


def table(folder, names=NAMES, labels=LABELS, **columns):
    rows = [",".join(map(str, row)) for row in zip(names, labels, *columns.values(), strict=True)]
    (folder / "labels.csv").write_text("\n".join([",".join(["name", "kind", *columns]), *rows]) + "\n")
    return folder / "labels.csv"


@pytest.mark.parametrize("make", FORMATS)
def test_every_format_gives_its_images_by_number(make, tmp_path):
    stack = open_stack(make(tmp_path))
    assert len(stack) == COUNT and stack.shape == (SIDE, SIDE, BANDS)
    rows = np.array([17, 3, 3, 39, 0])
    np.testing.assert_array_equal(stack.read(rows), IMAGES[rows])


@pytest.mark.parametrize("make", [make for make in FORMATS if make not in (numpy_array, zarr_group)])
def test_labels_find_their_images_by_name(make, tmp_path):
    order = np.random.default_rng(2).permutation(COUNT)
    labels = table(tmp_path, [NAMES[k] for k in order], ["lens" if LABELS[k] else "spiral" for k in order])
    data = open_cutouts(make(tmp_path), labels, target="kind", classes=("spiral", "lens"))
    assert data.classes == ("spiral", "lens")
    np.testing.assert_array_equal(data.source.targets["label"], LABELS)


@pytest.mark.parametrize("cells", [("0", "1"), ("0.0", "1.0"), ("0", "1.0"), ("no", "yes")])
def test_an_example_whose_label_is_nan_is_without_one(cells, tmp_path):
    """Whether its table is read as numbers or as text; it is no class of its own."""
    texts = ["nan" if k in (3, 8) else cells[LABELS[k]] for k in range(COUNT)]
    (tmp_path / "labels.csv").write_text("name,kind\n" + "".join(
        f"{one},{text}\n" for one, text in zip(NAMES, texts, strict=True)))
    with pytest.raises(InputError, match="2 images without a label"):
        open_cutouts(hdf5(tmp_path), tmp_path / "labels.csv", target="kind")
    data = open_cutouts(hdf5(tmp_path), tmp_path / "labels.csv", target="kind", unlabelled="leave")
    assert data.classes == (("no", "yes") if cells[0] == "no" else ("0", "1"))


def test_a_class_without_an_example_is_refused(tmp_path):
    labels = table(tmp_path, NAMES, ["lens" if one else "spiral" for one in LABELS])
    with pytest.raises(InputError, match="kind: no example of the class 'ring'"):
        open_cutouts(hdf5(tmp_path), labels, target="kind", classes=("spiral", "lens", "ring"))


@pytest.mark.parametrize("ending", ["ecsv", "fits", "parquet"])
def test_tables_of_labels_in_other_formats(ending, tmp_path):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    made = Table({"name": NAMES, "kind": LABELS, "theta_E": np.linspace(0.5, 2.0, COUNT)})
    made.write(tmp_path / f"labels.{ending}")
    data = open_cutouts(hdf5(tmp_path), tmp_path / f"labels.{ending}", target="kind", values=["theta_E"])
    np.testing.assert_array_equal(data.source.targets["label"], LABELS)
    np.testing.assert_allclose(data.source.targets["theta"][:, 0], np.linspace(0.5, 2.0, COUNT), rtol=1e-6)


def test_a_block_is_read_once_and_few_are_held(tmp_path):
    """30 GB are not held: bytes read are those of the images, bytes held those of a window."""
    block = 8 * SIDE * SIDE * BANDS * 4
    stack = dataclasses.replace(open_stack(chunked(tmp_path)), hold=2 * block)
    source = Stored(stack, {}, split(np.zeros(COUNT, int), (1.0, 0.0, 0.0)))
    seen = [source.batch(step, 4)["image"] for step in range(COUNT // 4)]
    np.testing.assert_array_equal(np.sort(np.concatenate(seen), 0), np.sort(IMAGES, 0))
    assert stack.counted["read"] == IMAGES.nbytes and stack.counted["most_held"] <= 3 * block
    alone = open_stack(numpy_array(tmp_path))
    alone.read(np.arange(5))
    assert alone.counted == {"read": IMAGES[:5].nbytes, "held": 0, "most_held": 0}


@pytest.mark.parametrize("how", ["crop", "pad", "resize"])
def test_other_sizes(how):
    side = {"crop": 4, "pad": 12, "resize": 5}[how]
    found = sized(IMAGES, (side, side), how)
    assert found.shape == (COUNT, side, side, BANDS)
    if how == "resize":
        np.testing.assert_allclose(found.sum((1, 2)), IMAGES.sum((1, 2)), atol=1e-4)  # light is kept
        np.testing.assert_allclose(sized(np.ones_like(IMAGES), (4, 4), how), 4.0, rtol=1e-6)
    else:
        small, large = (found, IMAGES) if how == "crop" else (IMAGES, found)
        np.testing.assert_array_equal(small, large[:, 2:-2, 2:-2])


def test_a_split_is_stratified():
    classes = np.repeat([0, 1, 2], [700, 200, 100])
    made = split(classes, (0.7, 0.2, 0.1), seed=3)
    assert sorted(np.concatenate([made.part(name) for name in PARTS])) == list(range(1000))
    for name, share in zip(PARTS, (0.7, 0.2, 0.1), strict=True):
        counts = np.round(share * np.array([700, 200, 100]))
        np.testing.assert_array_equal(np.bincount(classes[made.part(name)]), counts)


def test_a_group_is_in_one_part_and_shares_are_near_those_asked_for():
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 60, 1200)
    classes = (rng.random(1200) < 0.3).astype(int)
    made = split(classes, (0.6, 0.2, 0.2), groups=groups)
    parts = [set(groups[made.part(name)]) for name in PARTS]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    for name, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        rows = made.part(name)
        assert abs(len(rows) / 1200 - share) < 0.03 and abs(classes[rows].mean() - classes.mean()) < 0.05


def test_each_image_is_tested_in_one_fold():
    made = [folds(LABELS, 4, k) for k in range(4)]
    assert sorted(np.concatenate([one.test for one in made])) == list(range(COUNT))
    for one in made:
        assert not set(one.train) & set(one.validation) | set(one.train) & set(one.test)


def test_a_class_without_an_example_in_a_fold_is_named():
    with pytest.raises(ValueError, match="fold . of 12: no example of class 'other', of which there are 30 in all"):
        folds(LABELS, 12, 0, names=["other", "ring"], groups=LABELS)
    with pytest.raises(ValueError, match="the part 'validation' of the split: no example of class 1"):
        split(np.array([0] * 50 + [1]), (0.8, 0.1, 0.1))


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.2), (1.1, -0.1, 0.0), (0.5, 0.5)])
def test_shares_of_a_split_sum_to_one(shares):
    with pytest.raises(ValueError, match="shares: got .* that sum to 1"):
        split(LABELS, shares)


@pytest.mark.parametrize("blocks", [None, np.arange(100) // 7])
def test_an_order_is_a_permutation_an_epoch_and_the_same_again(blocks):
    rows = np.arange(50, 150)
    order = Order(rows, [3], blocks, window=2)
    first = order.at(np.arange(100))
    assert sorted(first) == list(rows) and list(first) != list(rows)
    assert list(order.at(np.arange(100, 200))) != list(first)
    again = Order(rows, [3], blocks, window=2)
    np.testing.assert_array_equal(again.at(np.arange(93, 107)), np.append(first[93:], order.at(np.arange(100, 107))))
    if blocks is not None:  # two blocks at a time
        assert max(len(set(blocks[first[k:k + 14] - 50])) for k in range(0, 84, 14)) <= 4


def test_balanced_classes_are_seen_equally_often():
    order = Balanced(tuple(Order(np.flatnonzero(LABELS == k), [0, k]) for k in (0, 1)))
    seen = order.at(np.arange(60))
    assert np.bincount(LABELS[seen]).tolist() == [30, 30] and len(set(seen)) == COUNT


def test_places_are_the_same_on_every_device():
    np.testing.assert_array_equal(places(0.25, 8), [True, False, False, False] * 2)
    assert places(1.0, 5).all()
    with pytest.raises(ValueError, match="share: 0.3 of the 16 images .* is 4.8; expected a whole number, such as 5"):
        places(0.3, 16)


def test_what_is_read_ahead_comes_in_order_and_its_errors_at_their_place():
    def read(k):
        if k == 7:
            raise InputError("shard.h5", "images", "cut short")
        return k

    reader = read_ahead(read, 3, 9)
    assert [next(reader) for _ in range(4)] == [3, 4, 5, 6]
    with pytest.raises(InputError, match="shard.h5: images: cut short"):
        next(reader)


def test_a_batch_is_filled_up_so_that_means_are_those_of_the_set():
    rows = [{"x": np.arange(8.0), "weight": np.ones(8, np.float32)},
            {"x": np.arange(8.0, 11.0), "weight": np.ones(3, np.float32)}]
    made = [filled(one, 8, 16, 11) for one in rows]
    assert np.mean([np.mean(one["weight"] * one["x"]) for one in made]) == pytest.approx(np.arange(11.0).mean())


class Net(nnx.Module):
    """Mean brightness to a number."""

    def __init__(self, rngs):
        self.out = nnx.Linear(BANDS, 1, rngs=rngs)

    def __call__(self, image):
        return self.out(image.mean((1, 2)))[:, 0]


@dataclasses.dataclass(frozen=True, eq=False)
class FedToy:
    """Labels of stored images, some examples being made in their place."""

    source: object
    stored: float = 1.0

    @property
    def identity(self):
        return identity_of("toy", self.source.identity, self.stored)

    def network(self, rngs):
        return Net(rngs)

    def example(self, key):
        return {"image": jnp.full((SIDE, SIDE, BANDS), 7.0), "label": jnp.int32(1), "weight": jnp.float32(1.0)}

    def shown(self, key, row):
        noise = 0.0 if key is None else 1e-3 * jax.random.normal(key, (SIDE, SIDE, BANDS))
        return row | {"image": row["image"] + noise}

    def loss(self, model, batch, key):
        wrong = model(batch["image"]) - batch["label"]
        made = jnp.all(batch["image"] == 7.0, axis=(1, 2, 3))
        return jnp.mean(batch["weight"] * wrong**2), {"made": jnp.mean(1.0 * made)}


CONFIG = TrainConfig(steps=12, batch_size=8, chunk=4, warmup=2, validate_every=4, checkpoint_every=4,
                     validation_size=8, measure_rates=False)


def one_device():
    return mesh(jax.devices()[:1])


def same(found, expected):
    for a, b in zip(jax.tree.leaves((found.state, found.best)), jax.tree.leaves((expected.state, expected.best)),
                    strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("stored", [1.0, 0.5])
def test_a_killed_and_resumed_training_is_the_unbroken_one(stored, tmp_path):
    task = FedToy(open_cutouts(chunked(tmp_path)).source, stored)
    unbroken = train(task, CONFIG, tmp_path / "a", over=one_device())

    def report(row):
        if row["kind"] == "train" and row["step"] == 8:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(task, CONFIG, tmp_path / "b", over=one_device(), report=report)
    again = FedToy(open_cutouts(tmp_path / "one.h5").source, stored)
    assert again.identity == task.identity
    same(train(again, CONFIG, tmp_path / "b", over=one_device(), resume=True), unbroken)


def test_simulated_examples_have_their_share(tmp_path):
    rows = []
    task = FedToy(open_cutouts(hdf5(tmp_path)).source, 0.75)
    train(task, dataclasses.replace(CONFIG, measure_rates=True), tmp_path / "run", over=one_device(),
          report=rows.append)
    assert [row["made"] for row in rows if row["kind"] == "train"] == [0.25] * 3
    rates = next(row for row in rows if row["kind"] == "rates")
    assert rates["source"] > 0.0 and "simulator" not in rates
    assert {"fixed_loss", "simulated_loss"} < set(next(row for row in rows if row["kind"] == "validation"))


def test_validation_is_of_images_that_training_never_draws(tmp_path):
    source = open_cutouts(hdf5(tmp_path), shares=(0.6, 0.2, 0.2)).source
    assert not set(source.split.train) & set(source.split.validation)
    drawn = np.concatenate([source.batch(step, 8)["image"] for step in range(30)])
    held = source.part("validation", 0, 100)["image"]
    assert not any((drawn == image).all((1, 2, 3)).any() for image in held)
    loop = Loop(FedToy(source), CONFIG, None, None, one_device())
    fixed, = draw_sets(loop)
    shown = np.concatenate([np.asarray(batch["image"])[np.asarray(batch["weight"]) > 0.0] for batch in fixed.batches])
    np.testing.assert_array_equal(shown, held)  # not augmented, and each once
    np.testing.assert_array_equal(shown, np.concatenate([
        np.asarray(batch["image"])[np.asarray(batch["weight"]) > 0.0] for batch in fixed.batches]))  # and again


def test_a_blend_keeps_its_shares(tmp_path):
    a = Stored(open_stack(hdf5(tmp_path)), {"of": np.zeros(COUNT)}, split(LABELS))
    b = dataclasses.replace(a, targets={"of": np.ones(COUNT)}, seed=1)
    made = Blend((a, b), (0.75, 0.25))
    for step in range(3):
        assert made.batch(step, 16)["of"].sum() == 4
    assert made.held_out("test") == 2 * a.held_out("test")
    np.testing.assert_array_equal(made.part("test", 2, 4)["of"], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="share: got 0.5, 0.6, of sum 1.1; expected"):
        Blend((a, b), (0.5, 0.6))
    with pytest.raises(ValueError, match="expected a whole number"):
        check_fed(FedToy(made), dataclasses.replace(CONFIG, batch_size=6, validation_size=6), 1)




def test_labels_without_images_and_images_without_labels_are_named_and_counted(tmp_path):
    images = hdf5(tmp_path)
    with pytest.raises(InputError, match=r"labels.csv: name: 7 labels of images that are not there: x0, x1, x2, x3, x4 "
                                         r"and 2 more; expected"):
        more = [*NAMES, *(f"x{k}" for k in range(7))]
        open_cutouts(images, table(tmp_path, more, [*LABELS, *[0] * 7]), target="kind")
    with pytest.raises(InputError, match="labels.csv: kind: 2 images without a label: g038, g039; expected"):
        open_cutouts(images, table(tmp_path, NAMES[:-2], LABELS[:-2]), target="kind")
    left = open_cutouts(images, tmp_path / "labels.csv", target="kind", unlabelled="leave")
    rows = np.concatenate([left.source.split.part(name) for name in PARTS])
    assert sorted(rows) == list(range(COUNT - 2))
    with pytest.raises(InputError, match="labels.csv: name: 1 names have several rows: g000"):
        open_cutouts(images, table(tmp_path, [*NAMES, "g000"], [*LABELS, 0]), target="kind")


def test_a_damaged_shard_is_named_and_the_others_are_read(tmp_path):
    folder = shards(tmp_path)
    content = (folder / "1.h5").read_bytes()
    (folder / "1.h5").write_bytes(content[:len(content) // 2])
    data = open_cutouts(folder)
    assert len(data.source.images) == 15 and len(data.notes) == 1
    assert "1.h5: left out: cannot be read" in data.notes[0]
    np.testing.assert_array_equal(data.source.images.read(np.arange(15)), IMAGES[:15])
    labelled = open_cutouts(folder, table(tmp_path), target="kind")
    assert "25 labels of images that are not there" in labelled.notes[1]
    with pytest.raises(InputError, match="1.h5: images"):
        open_stack(folder / "1.h5")


def test_a_cutout_that_is_cut_short_is_named_and_the_others_are_read(tmp_path):
    folder = cutouts(tmp_path)
    (folder / "g007.fits").write_bytes((folder / "g007.fits").read_bytes()[:3000])
    stack = open_stack(folder)
    assert len(stack) == COUNT - 1 and "g007.fits: left out" in stack.notes[0] and "g007" not in stack.names


def test_a_chunk_that_is_missing_is_no_image_of_zeros(tmp_path):
    path = zarr_group(tmp_path)
    next(iter(sorted(p for p in (path / "image").rglob("*") if p.is_file() and p.name != "zarr.json"))).unlink()
    with pytest.raises(InputError, match="one.zarr: images: no file that can be read: .*1 of 5 chunks are missing"):
        open_stack(path)


def test_a_damaged_block_names_its_file_when_it_is_read(tmp_path):
    path = chunked(tmp_path)
    with h5py.File(path) as file:
        place = file["image"].id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[place:place + 60] = b"\0" * 60
    path.write_bytes(content)
    stack = open_stack(path)
    np.testing.assert_array_equal(stack.read(np.arange(16)), IMAGES[:16])
    with pytest.raises(InputError, match="one.h5: images: images 16 to 23 cannot be read"):
        stack.read(np.array([17]))


@pytest.mark.parametrize(("settings", "message"), [
    ({"shape": (6, 6)}, "images of 8 x 8 pixels in 3 bands; expected 6 x 6 in 3, or a size"),
    ({"shape": (12, 12), "size": "crop"}, "images of 8 x 8 pixels"),
    ({"bands": ("r", "g", "i")}, "bands in the order g, r, i; expected r, g, i"),
    ({"bands": ("g", "r")}, "3 bands; expected 2: g, r"),
    ({"unit": "nJy"}, "pixels in 'count / s'; expected 'nJy'"),
    ({"layout": "first"}, "whose bands come last; expected"),
    ({"dataset": "imgae"}, "no array 'imgae'.*nearest: 'image'"),
    ({"target": "kind"}, "kind: no such column"),
    ({"size": "stretch"}, "size: got 'stretch'"),
    ({"classes": ("0", "2")}, "label: the label '1'; expected one of"),
    ({"shares": (0.8, 0.1, 0.2)}, "shares: got 0.8, 0.1, 0.2, of sum 1.1"),
    ({"number_of_folds": 11, "fold": 0}, "no example of class '1'"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_what_does_not_fit_is_said(settings, message, tmp_path):
    path = tmp_path / "one.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("image", data=np.zeros((COUNT, 20, 20, 3)) if "layout" in settings else IMAGES)
        made.attrs["unit"], made.attrs["bands"] = "count / s", "g r i"
        file["label"] = LABELS
    with pytest.raises(InputError, match=message):
        open_cutouts(path, **settings)


def test_units_of_cutouts_in_a_folder_are_one(tmp_path):
    folder = cutouts(tmp_path)
    with fits.open(folder / "g020.fits", mode="update") as hdus:
        hdus[0].header["BUNIT"] = "adu"
    with pytest.raises(InputError, match="g020.fits: images: BUNIT 'adu'; expected 'nJy', as g000.fits has"):
        open_stack(folder)


def test_bands_of_cutouts_in_a_folder_have_one_order(tmp_path):
    for name, bands in (("a", "gri"), ("b", "gri"), ("c", "rig")):
        planes = [fits.ImageHDU(np.full((8, 8), float(ord(band))), name=band) for band in bands]
        fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / f"{name}.fits")
    stack = open_stack(tmp_path)
    assert stack.read(np.array([1]))[0, 0, 0].tolist() == [ord(band) for band in "gri"]
    assert stack.shards[0].bands == ("G", "R", "I")  # as FITS has them; a search finds bands by these names
    assert len(open_stack(tmp_path, bands=("g", "r", "i"))) == 3
    with pytest.raises(InputError, match="bands in the order G, R, I; expected r, g, i"):
        open_stack(tmp_path, bands=("r", "g", "i"))
    with pytest.raises(InputError, match="c.fits: images: HDUs in the order R, I, G; expected G, R, I, as the others"):
        stack.read(np.array([2]))


def test_a_column_of_a_table_that_is_not_there(tmp_path):
    np.save(tmp_path / "one.npy", IMAGES)
    Table({"kind": LABELS}).write(tmp_path / "labels.csv")
    with pytest.raises(InputError, match="labels.csv: sort: no such column; expected one of 'kind' .nearest"):
        open_cutouts(tmp_path / "one.npy", tmp_path / "labels.csv", target="sort")


def test_an_image_that_is_not_finite_is_named(tmp_path):
    images = IMAGES.copy()
    images[11, 3, 3, 0] = np.nan
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["image"], file["name"] = images, NAMES
    with pytest.raises(InputError, match=r"1 images are not finite, the first is image 11 \(g011\)"):
        open_stack(tmp_path / "one.h5").read(np.arange(20))


def test_images_of_one_name_are_named(tmp_path):
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        file["images"], file["name"] = IMAGES[:4], ["a", "b", "a", "c"]
    (tmp_path / "labels.csv").write_text("name,kind\na,0\nb,1\nc,1\n")
    with pytest.raises(InputError, match="images: names are there twice: a; expected one name an image"):
        open_cutouts(tmp_path / "twice.h5", tmp_path / "labels.csv", target="kind")
