"""The pages of the classification and ablation configs know every one of them."""

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from torch.utils.data import DataLoader

from mae_plugin.cli.run_config import follow_classes, set_data_root

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'configs/classification'
CONFIGS = set(FOLDER.glob('*.py'))
SMALL = set((ROOT / 'configs/playground').glob('*_classes.py'))


def test_the_readme_links_every_config():
    text = (FOLDER / 'README.md').read_text()
    links = {(FOLDER / link).resolve() for link in re.findall(r'\]\(([^):]*\.py)\)', text)}
    assert {link for link in links if link.is_relative_to(ROOT / 'configs')} == CONFIGS | SMALL


def test_the_readmes_commands_name_what_exists():
    text = (FOLDER / 'README.md').read_text()
    named = set(re.findall(r'(?:tools|configs)/[\w/.-]+\.(?:py|sh)', text))
    assert {f'tools/{name}.py' for name in ('train', 'test', 'probe', 'report')} <= named
    assert not [name for name in named if not (ROOT / name).is_file()]
    # The hook that the commands point at labelled folders.
    index = int(re.search(r'custom_hooks\.(\d)\.train', text)[1])
    hooks = Config.fromfile(ROOT / 'configs/mae_vit-b_pretrain.py').custom_hooks
    assert hooks[index].type == 'mae_plugin.MonitorHook'
    epochs = Config.fromfile(ROOT / 'configs/playground/mae_classes.py').train_cfg.max_epochs
    assert set(re.findall(r'mae_classes/epoch_(\d+)', text)) == {str(epochs)}


@pytest.mark.slow
def test_the_metafile_names_what_is_trained_on_a_public_set():
    meta = yaml.safe_load((FOLDER / 'metafile.yml').read_text())
    listed = {ROOT / model['Config'] for model in meta['Models']}
    assert listed == {path for path in CONFIGS if not re.match('robustness_|.*_folder', path.stem)}
    for model in meta['Models']:
        cfg = Config.fromfile(ROOT / model['Config'])
        assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs
        assert model['In Collection'] == meta['Collections'][0]['Name']


def test_every_ablation_table_is_described():
    folder = ROOT / 'configs/ablations'
    text = (folder / 'README.md').read_text()
    tables = {path.name for path in folder.iterdir() if any(path.glob('*.py'))}
    assert tables == set(re.findall(r'^\| `([a-z-]+)` \|', text, re.MULTILINE))


def test_the_number_of_classes_follows_the_folders(tmp_path):
    for name in ('a', 'b', 'c', '.hidden'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        (tmp_path / 'val' / name).mkdir(parents=True)

    def classes(config):
        cfg = Config.fromfile(FOLDER / f'{config}.py')
        set_data_root(cfg, str(tmp_path))
        follow_classes(cfg, str(tmp_path))
        return cfg.model.head.num_classes, cfg.model.data_preprocessor.num_classes

    assert classes('finetune_vit-b_mae_100e_folder') == (3, 3)
    # Annotation files have their own labels; a classifier under test keeps its classes.
    assert classes('finetune_vit-b_mae_100e_inat19') == (1010, 1010)
    assert classes('robustness_vit-b_imagenet-a') == (1000, 1000)


@pytest.mark.slow
def test_epochs_are_the_official_ones():
    """The official code leaves a short last batch out: 1251 iterations of 1024, 312 of 4096."""
    found = {}
    for path in CONFIGS:
        cfg = Config.fromfile(path)
        if path.stem.endswith('_in1k') and cfg.get('train_dataloader'):
            batch, drop = cfg.auto_scale_lr.base_batch_size, cfg.train_dataloader.drop_last
            loader = DataLoader(range(1_281_167), batch_size=batch, drop_last=drop)
            found.setdefault(batch, set()).add(len(loader))
    assert found == {1024: {1251}, 4096: {312}, 16384: {78}}
    # A folder of one's own may hold less than a batch.
    own = Config.fromfile(FOLDER / 'finetune_vit-b_mae_100e_folder.py').train_dataloader
    assert len(DataLoader(range(100), batch_size=own.batch_size, drop_last=own.drop_last)) == 1
