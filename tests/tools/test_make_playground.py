"""The playground composer, on synthetic pictures whose pixels tell which file they came from.

Every cut-out has a pure hue of its own and backgrounds are grey, and nothing in composing changes
a pure hue: so a scene's pixels alone say which cut-out shows where, which is what annotations,
semantic maps and the split are checked against.
"""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playground_sources import CLASSES, HUES, MIXED, arguments, write_sources
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mae_plugin.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

import make_playground
from playground import debian, library, scene
from playground.annotations import run_lengths


@pytest.fixture(scope='module')
def sources(tmp_path_factory) -> tuple[Path, Path]:
    return write_sources(tmp_path_factory.mktemp('sources'))


@pytest.fixture(scope='module')
def playground(sources, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('set') / 'playground'
    make_playground.main(arguments(sources, out))
    return out


def pixel_hues(image: np.ndarray) -> np.ndarray:
    """(H, W) of 'red', ..., or '' where a pixel is near grey."""
    low, high = image.min(-1, keepdims=True), image.max(-1, keepdims=True)
    code = image > (low.astype(int) + high) / 2
    names = np.full(image.shape[:2], '', dtype='<U8')
    for colours in CLASSES.values():
        for name, rgb in colours.items():
            names[(code == (np.array(rgb) > 0)).all(-1)] = name
    names[(high.astype(int) - low)[..., 0] < 70] = ''
    return names


def labelled_scenes(out: Path, split: str):
    coco = COCO(str(out / 'annotations' / f'instances_{split}.json'))
    for image_id in coco.getImgIds():
        info = coco.loadImgs(image_id)[0]
        image = cv2.imread(str(out / 'images' / split / info['file_name']))[..., ::-1]
        semantic = out / 'semantic' / split / Path(info['file_name']).with_suffix('.png').name
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
        yield image, cv2.imread(str(semantic), cv2.IMREAD_UNCHANGED), annotations, masks


@pytest.mark.parametrize('split', ['train', 'val'])
def test_masks_are_what_the_pixels_show(playground, split):
    plan = json.loads((playground / 'playground.json').read_text())['plan']
    files = plan['pictures'][split]['cutouts']
    kernel = np.ones((5, 5), np.uint8)
    seen, instances = set(), 0
    for image, _, annotations, masks in labelled_scenes(playground, split):
        hues = pixel_hues(image)
        for annotation, mask in zip(annotations, masks):
            inside = cv2.erode(mask.astype(np.uint8), kernel).astype(bool)
            if inside.sum() < 10:
                continue
            found = set(hues[inside])
            assert len(found) == 1, 'an instance mask covers pixels of something else'
            name = plan['classes'][annotation['category_id'] - 1]
            assert found <= {Path(path).stem for path in files[name]}, 'wrong class or split'
            seen |= found
            instances += 1
        anything = np.any(masks, axis=0) if masks else np.zeros(hues.shape, bool)
        around = cv2.dilate(anything.astype(np.uint8), kernel).astype(bool)
        assert not (hues[~around] != '').any(), 'an object without a mask'
    assert instances > 20
    assert seen == {Path(path).stem for paths in files.values() for path in paths}


def test_pretraining_shows_train_cutouts_only(playground):
    plan = json.loads((playground / 'playground.json').read_text())['plan']
    allowed = {
        Path(p).stem for paths in plan['pictures']['train']['cutouts'].values() for p in paths
    }
    paths = sorted((playground / 'pretrain').iterdir())
    assert len(paths) == 60
    for path in paths:
        hues = pixel_hues(cv2.imread(str(path))[..., ::-1])
        for name in {*HUES, *MIXED} - allowed:  # seams mix hues, but only some pixels wide
            assert not cv2.erode((hues == name).astype(np.uint8), np.ones((5, 5))).any()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_boxes_areas_and_semantics_follow_the_masks(playground, split):
    for image, semantic, annotations, masks in labelled_scenes(playground, split):
        assert image.shape == (72, 96, 3) and semantic.shape == (72, 96)
        expected = np.zeros((72, 96), int)
        for annotation, mask in zip(annotations, masks):
            rows, columns = np.nonzero(mask)
            left, top = columns.min(), rows.min()
            assert annotation['bbox'] == [
                left, top, columns.max() - left + 1, rows.max() - top + 1,
            ]  # fmt: skip
            assert annotation['area'] == mask.sum() >= scene.MIN_PIXELS
            assert not expected[mask].any(), 'two instances claim one pixel'
            expected[mask] = annotation['category_id']
        assert (semantic == expected).all()


def test_same_bytes_for_a_seed_whatever_the_workers(sources, playground, tmp_path):
    make_playground.main([*arguments(sources, tmp_path / 'again'), '--workers=1'])
    first = {p.relative_to(playground): p for p in playground.rglob('*') if p.is_file()}
    again = {p.relative_to(tmp_path / 'again') for p in (tmp_path / 'again').rglob('*')}
    assert set(first) == {name for name in again if (tmp_path / 'again' / name).is_file()}
    for name, path in first.items():
        assert path.read_bytes() == (tmp_path / 'again' / name).read_bytes(), name


def test_another_seed_gives_other_scenes(sources, playground, tmp_path):
    make_playground.main([*arguments(sources, tmp_path / 'b'), '--seed=4', '--pretrain=0'])
    name = Path('images/train/000000.jpg')
    assert (playground / name).read_bytes() != (tmp_path / 'b' / name).read_bytes()


def test_finished_sets_are_reused_and_others_refused(sources, playground, tmp_path):
    out = tmp_path / 'copy'
    shutil.copytree(playground, out)
    touched = out / 'images/train/000000.jpg'
    touched.write_bytes(b'untouched')
    make_playground.main(arguments(sources, out))
    assert touched.read_bytes() == b'untouched'
    with pytest.raises(ValueError, match='--force'):
        make_playground.main([*arguments(sources, out), '--train=5'])
    make_playground.main([*arguments(sources, out), '--train=5', '--pretrain=0', '--force'])
    assert len(list((out / 'images/train').iterdir())) == 5
    assert not list((out / 'pretrain').iterdir())
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'letter.txt').write_text('mine')
    with pytest.raises(ValueError, match='other files'):
        make_playground.main([*arguments(sources, tmp_path / 'home'), '--force'])


def test_an_interrupted_run_goes_on(sources, playground, tmp_path):
    out = tmp_path / 'cut'
    shutil.copytree(playground, out)
    state = json.loads((out / 'playground.json').read_text())
    state['finished'] = False
    (out / 'playground.json').write_text(json.dumps(state))
    shutil.rmtree(out / 'images')
    for path in (out / 'pretrain').iterdir():
        path.write_bytes(b'done')
    (out / '.parts').mkdir()  # chunk 0 of the unlabelled scenes was finished, chunk 1 was not
    (out / '.parts' / 'pretrain_00000.json').write_text('[]')
    make_playground.main(arguments(sources, out))
    for path in sorted(playground.rglob('*.jpg')):
        name = path.relative_to(playground)
        kept = name.parts[0] == 'pretrain' and int(path.stem) < make_playground.CHUNK
        assert (out / name).read_bytes() == (b'done' if kept else path.read_bytes()), name
    assert not (out / '.parts').exists()


def test_doubles_never_cross_the_split(sources, tmp_path):
    for path in [*sources[1].iterdir()]:
        shutil.copy(path, tmp_path / f'copy_{path.name}')
        shutil.copy(path, tmp_path / path.name)
    paths = library.folder_photos(tmp_path)
    train, val = library.split_paths(paths, 0.4, np.random.default_rng(0), 'photos')
    assert len(train) + len(val) == 6
    assert not {p.read_bytes() for p in train} & {p.read_bytes() for p in val}


def test_unusable_sources_say_why(sources, tmp_path):
    (tmp_path / 'cat').mkdir()
    with pytest.raises(ValueError, match='class name'):
        library.folder_cutouts(tmp_path / 'cat')
    with pytest.raises(ValueError, match='class cat: 0 different'):
        library.split_paths([], 0.25, np.random.default_rng(0), 'class cat')
    with pytest.raises(ValueError, match='no cut-out'):
        library.load_cutout(next(sources[1].iterdir()), 100)
    with pytest.raises(ValueError, match='WIDTHxHEIGHT'):
        make_playground.parse_size('160')


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_run_lengths_equal_pycocotools(height, width, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.random()
    rle = mask_utils.frPyObjects(
        dict(size=[height, width], counts=run_lengths(mask)), height, width
    )
    assert (mask_utils.decode(rle) == mask).all()
    assert rle == mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-9, 12), st.integers(-9, 12)), max_size=6), st.integers(0, 99)
)
def test_owner_map_equals_pixel_by_pixel_compositing(corners, seed):
    rng = np.random.default_rng(seed)
    owner, expected = np.zeros((8, 11), int), np.zeros((8, 11), int)
    for number, (top, left) in enumerate(corners, start=1):
        solid = rng.random((rng.integers(1, 7), rng.integers(1, 7))) < 0.6
        owner = scene.occupy(owner, solid, (top, left), number)
        for (row, column), hit in np.ndenumerate(solid):
            y, x = top + row, left + column
            if hit and 0 <= y < 8 and 0 <= x < 11:
                expected[y, x] = number
    assert (owner == expected).all()


def test_stamps_fall_into_their_classes(tmp_path):
    stamps = tmp_path / 'tuxpaint-stamps-default/usr/share/tuxpaint/stamps'
    names = dict(
        mammal=['animals/mammals/cow.png'],
        sea_animal=['animals/mammals/aquatic/orca.png', 'animals/fish/bass.png'],
        gravestone=['seasonal/halloween/grave-a.png'],
    )
    others = ['animals/mammals/cow_mirror.png', 'seasonal/halloween/skull.png']
    for name in (*others, *(name for group in names.values() for name in group)):
        (stamps / name).parent.mkdir(parents=True, exist_ok=True)
        (stamps / name).write_bytes(b'')
    classes = debian.debian_cutouts(tmp_path)
    found = {k: sorted(str(p.relative_to(stamps)) for p in v) for k, v in classes.items() if v}
    assert found == {k: sorted(v) for k, v in names.items()}


def test_photographs_come_out_of_qt_resources(tmp_path):
    def webp(size: int) -> bytes:
        return b'RIFF' + (size - 8).to_bytes(4, 'little') + b'WEBP' + bytes(size - 12)

    large, small = webp(30_000), webp(100)
    (tmp_path / 'views.rcc').write_bytes(b'qres' + small + b'xx' + large + b'tail')
    debian.extract_qt_photos(tmp_path)
    assert (tmp_path / 'views-001.webp').read_bytes() == large
    assert len(list(tmp_path.glob('*.webp'))) == 1


def test_without_debian_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='--cutouts DIR --photos DIR'):
        debian.fetch_package('mate-backgrounds', tmp_path / 'cache')
