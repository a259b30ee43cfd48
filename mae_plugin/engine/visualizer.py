"""The visualizer's name in the configs of version 0.1."""

from mmengine.visualization import Visualizer

from mae_plugin.registry import VISUALIZERS

# It made its figure late. Configs and stored runs of that version still name it.
VISUALIZERS.register_module(name='LazyVisualizer', module=Visualizer)
