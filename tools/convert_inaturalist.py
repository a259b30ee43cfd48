"""Turn iNaturalist's annotation files into lists of "path label", which image folders read.

    python tools/convert_inaturalist.py DIR/train2018.json DIR/val2018.json

writes DIR/train2018.txt and DIR/val2018.txt, with paths below DIR. The years 2017 to 2019 number
their species from 0; a file that does not is refused.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError


def convert(path: Path) -> Path:
    """Write the list of one annotation file beside it, and return its path.

    Raises:
        UserError: If the file is missing or no such annotation file.
    """
    if not path.is_file():
        raise UserError(f'no annotation file {path}')
    content = json.loads(path.read_text(encoding='utf-8'))
    missing = {'images', 'annotations', 'categories'} - set(content)
    if missing:
        raise UserError(f'{path} has no {", ".join(sorted(missing))}: not from iNaturalist')
    classes = sorted(category['id'] for category in content['categories'])
    if classes != list(range(len(classes))):
        raise UserError(f'{path} does not number its {len(classes)} species from 0')
    label = {entry['image_id']: entry['category_id'] for entry in content['annotations']}
    lines = [f'{image["file_name"]} {label[image["id"]]}\n' for image in content['images']]
    target = path.with_suffix('.txt')
    partial = target.with_suffix('.partial')
    partial.write_text(''.join(lines), encoding='utf-8')
    partial.replace(target)
    print(f'{target}: {len(lines)} images, {len(classes)} species')
    return target


def main() -> None:
    """Convert each file that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', type=Path, help='train20YY.json and val20YY.json')
    with user_errors():
        for file in parser.parse_args().files:
            convert(file)


if __name__ == '__main__':
    main()
