"""The pages of the classification and ablation configs know every one of them."""

import re
from pathlib import Path

import yaml
from mmengine.config import Config

from mae_plugin.run_config import follow_classes, set_data_root

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'configs/classification'
CONFIGS = set(FOLDER.glob('*.py'))


def test_the_readme_links_every_config():
    text = (FOLDER / 'README.md').read_text()
    links = {FOLDER / link for link in re.findall(r'\]\(([^):]*\.py)\)', text)}
    assert links == CONFIGS


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
    tables = {path.name for path in folder.iterdir() if path.is_dir()}
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
