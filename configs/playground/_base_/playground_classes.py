"""Classes of the playground in the order of their ids: `data/playground/classes.json`.

For a set of your own pictures put your class names here.
"""

classes = (
    'bird',
    'mammal',
    'sea_animal',
    'insect',
    'fruit',
    'vegetable',
    'flower',
    'vehicle',
    'road_sign',
    'instrument',
    'tool',
    'gravestone',
)
