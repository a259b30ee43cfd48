"""However many processes there are, they train on the same images in the same order."""

import pytest
from processes import run
from tiny_run import tiny_config

IMAGES = 23  # which neither 2, 4 nor 6 divides


def images_seen(work_dir, world):
    """Indices in the order of training: of each iteration, image by image, rank by rank."""
    iterations = zip(
        *((work_dir / f'seen-{rank}.txt').read_text().splitlines() for rank in range(world)),
        strict=True,
    )
    return [
        int(key) for ranks in iterations for keys in zip(*map(str.split, ranks)) for key in keys
    ]


@pytest.fixture(scope='module')
def of_one_process(tmp_path_factory):
    return train(tmp_path_factory.mktemp('one'), 1)


def train(work_dir, world):
    config = tiny_config(work_dir, epochs=4, batch_size=2, workers=1)
    config['train_dataloader']['dataset'].update(length=IMAGES)
    config['default_hooks'] = dict(checkpoint=None, logger=None)
    config['custom_hooks'] = [dict(type='RecordHook')]
    run(config, world=world)
    return images_seen(work_dir, world)


def test_one_process_sees_each_image_once_a_pass(of_one_process):
    assert len(of_one_process) == 4 * 22
    passes = [of_one_process[start : start + IMAGES] for start in range(0, 3 * IMAGES, IMAGES)]
    assert all(sorted(each) == list(range(IMAGES)) for each in passes)
    assert passes[0] != passes[1]


@pytest.mark.slow
@pytest.mark.parametrize('world', [2, 3])
def test_several_processes_see_the_same_stream(tmp_path, of_one_process, world):
    seen = train(tmp_path, world)
    assert len(seen) == 4 * (IMAGES // (2 * world)) * 2 * world
    assert seen == of_one_process[: len(seen)]
