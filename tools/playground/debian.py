"""Cut-outs and photographs out of Debian packages, fetched by name, without root.

``tuxpaint-stamps-default`` (GPL-2) holds several hundred photographs with alpha masks, the other
packages landscape and city photographs. Nothing of them is committed: they are downloaded with
``apt-get download``, unpacked with ``dpkg -x`` into a cache folder and used from there.
"""

import re
import shutil
import subprocess
from pathlib import Path

from mae_plugin.errors import UserError

# Class -> paths below the stamps folder that belong to it; a name ending in '/' is a folder.
STAMP_CLASSES: dict[str, tuple[str, ...]] = {
    'bird': ('animals/birds/',),
    'mammal': ('animals/mammals/', 'animals/marsupials/'),
    'sea_animal': ('animals/fish/', 'animals/mammals/aquatic/'),
    'insect': ('animals/insects/',),
    'fruit': ('food/fruit/', 'food/nuts/'),
    'vegetable': ('food/vegetables/', 'plants/mushrooms/'),
    'flower': ('plants/flowers/',),
    'vehicle': ('vehicles/', 'military/vehicles/'),
    'road_sign': ('town/roadsigns/',),
    'instrument': ('hobbies/music/',),
    'tool': ('household/tools/',),
    'gravestone': ('seasonal/halloween/grave-',),
}

# Drawings, mirrored doubles of another stamp, and stamps that do not look like their class.
STAMP_EXCLUDES = re.compile(
    r'cartoon|mirror|/toys/|hedgehog|echidna|/otter|lobster|shrimp|slug|walnut_shell|wheel|7spoke'
    r'|balloon|/ship/|/flight/|sedan_police|f22_raptor|stoplight|traffic_cone|railroad|cymbal'
    r'|cementmixer|lionfish|appooppanthady'
)

# The photographs among the wallpapers (the rest are drawings, or show one of the classes above).
PHOTOS: dict[str, str] = {
    'lomiri-wallpapers-16.04': r'(Bridge|Dragonfly|Picture_1A|Wine|aitzgorri|analogpattern'
    r'|life|picosdeeuropa|seeding|sunset)_by_',
    'mate-backgrounds': r'Float-into-MATE|nature/(Aqua|Blinds|Dune|GreenMeadow|RainDrops|Storm'
    r'|Wood)\.',
    'plasma-workspace-wallpapers': r'/(Autumn|BytheWater|ColdRipple|DarkestHour|EveningGlow'
    r'|FallenLeaf|Kite|OneStandsOut|Path|Volna|summer_1am)/contents/images/\d',
    'gcompris-qt-data': r'(explore_monuments|clickgame)-\d+\.webp$',
}

MIN_QT_PHOTO = 25_000  # bytes; smaller pictures in there are icons and sprites


def fetch_package(name: str, cache: Path) -> Path:
    """Download and unpack one Debian package; a package that is there already is reused.

    Args:
        name: Package name.
        cache: Folder for the unpacked packages.

    Returns:
        The folder with the package's files.

    Raises:
        UserError: Without apt-get and dpkg, or when the package cannot be had.
    """
    folder = cache / name
    if folder.is_dir():
        return folder
    way_out = 'or compose from your own pictures with --cutouts DIR --photos DIR'
    if not (shutil.which('apt-get') and shutil.which('dpkg')):
        raise UserError(f'{name} needs apt-get and dpkg (Debian, Ubuntu); use them {way_out}')
    partial = cache / f'{name}.partial'
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    print(f'fetching {name}', flush=True)
    result = subprocess.run(
        ['apt-get', 'download', name], cwd=partial, capture_output=True, text=True
    )
    archives = sorted(partial.glob('*.deb'))
    if result.returncode or not archives:
        raise UserError(
            f'apt-get download {name} failed: {result.stderr.strip()[-300:]}\n'
            f'run "apt-get update" once and try again, {way_out}'
        )
    subprocess.run(['dpkg', '-x', archives[0].name, 'files'], cwd=partial, check=True)
    extract_qt_photos(partial / 'files')
    (partial / 'files').rename(folder)  # last: a folder that exists is complete
    shutil.rmtree(partial)
    return folder


def extract_qt_photos(folder: Path) -> None:
    """Write the photographs inside Qt resource files beside them, ``<resource>-<number>.webp``.

    Qt stores WebP files as they are, and a RIFF header states its own length.
    """
    for resource in sorted(folder.rglob('*.rcc')):
        data = resource.read_bytes()
        for number, match in enumerate(re.finditer(rb'RIFF(....)WEBP', data, re.DOTALL)):
            length = int.from_bytes(match.group(1), 'little') + 8
            if length < MIN_QT_PHOTO:
                continue
            target = resource.with_name(f'{resource.stem}-{number:03d}.webp')
            target.write_bytes(data[match.start() : match.start() + length])


def debian_cutouts(cache: Path) -> dict[str, list[Path]]:
    """Class name -> its cut-outs, in a fixed order."""
    folder = fetch_package('tuxpaint-stamps-default', cache)
    root = next(path for path in sorted(folder.rglob('stamps')) if path.is_dir())
    stamps = [str(path.relative_to(root)) for path in sorted(root.rglob('*.png'))]
    stamps = [stamp for stamp in stamps if not STAMP_EXCLUDES.search('/' + stamp)]
    classes: dict[str, list[Path]] = {name: [] for name in STAMP_CLASSES}
    for stamp in stamps:
        # The longest prefix wins, so 'animals/mammals/aquatic/' is no mammal here.
        _, name = max(
            (len(prefix) if stamp.startswith(prefix) else 0, name)
            for name, prefixes in STAMP_CLASSES.items()
            for prefix in prefixes
        )
        if stamp.startswith(STAMP_CLASSES[name]):
            classes[name].append(root / stamp)
    return classes


def debian_photos(cache: Path) -> list[Path]:
    """The photographs that serve as backgrounds, in a fixed order."""
    photos = []
    for package, pattern in PHOTOS.items():
        folder = fetch_package(package, cache)
        paths = (path for path in sorted(folder.rglob('*')) if path.is_file())
        photos += [path for path in paths if re.search(pattern, str(path.relative_to(folder)))]
    return photos
